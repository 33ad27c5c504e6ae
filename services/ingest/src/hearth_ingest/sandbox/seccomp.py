"""A filter of system calls for the current process: compute, read and write what is open, and nothing else.

It needs no privilege (PR_SET_NO_NEW_PRIVS comes first), so it works for uid 10001 in a restricted pod as for root.
Everything that is not listed fails with EPERM: sockets, opening files, starting programs, signals to others.
"""

import ctypes
import os
import platform
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _EPERM, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
_X32 = 0x40000000

# read write close fstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn readv writev
# sched_yield mremap madvise dup nanosleep setitimer getpid exit uname fcntl gettimeofday getrlimit getrusage sysinfo
# times getuid getgid geteuid getegid sigaltstack setrlimit gettid time futex sched_getaffinity restart_syscall
# clock_gettime clock_getres clock_nanosleep exit_group ppoll set_robust_list getrandom membarrier rseq
# fmt: off
_X86_64 = (
    0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 24, 25, 28, 32, 35, 38, 39, 60, 63, 72, 96, 97, 98, 99, 100,
    102, 104, 107, 108, 131, 160, 186, 201, 202, 204, 219, 228, 229, 230, 231, 271, 273, 318, 324, 334,
)
_AARCH64 = (
    23, 25, 57, 62, 63, 64, 65, 66, 73, 80, 93, 94, 98, 99, 101, 103, 113, 114, 115, 123, 124, 128, 132, 134, 135, 139,
    153, 160, 163, 164, 165, 169, 172, 174, 175, 176, 177, 178, 179, 214, 215, 216, 222, 226, 233, 278, 283, 293,
)
# fmt: on
# machine -> (audit architecture, allowed calls, tgkill, prlimit64)
_MACHINES = {
    "x86_64": (0xC000003E, _X86_64, 234, 302),
    "aarch64": (0xC00000B7, _AARCH64, 131, 261),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _build_filter(machine: str, pid: int) -> bytes:
    """Return the BPF program. Raises OSError for a machine whose call numbers are not known."""
    if machine not in _MACHINES:
        raise OSError(f"no table of system calls for {machine}")
    architecture, calls, tgkill, prlimit = _MACHINES[machine]

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    program = [
        step(_LOAD, _ARCH),
        step(_EQUAL, architecture, 1, 0),
        step(_RETURN, _KILL),
        step(_LOAD, _NUMBER),
        step(_AT_LEAST, _X32, 0, 1),
        step(_RETURN, _KILL),
    ]
    for call in calls:
        program += [step(_EQUAL, call, 0, 1), step(_RETURN, _ALLOW)]
    # A process may signal (abort) and limit itself, never another one.
    for call in (tgkill, prlimit):
        program += [
            step(_EQUAL, call, 0, 4),
            step(_LOAD, _FIRST_ARGUMENT),
            step(_EQUAL, pid, 1, 0),
            step(_EQUAL, 0, 0, 1),
            step(_RETURN, _ALLOW),
            step(_LOAD, _NUMBER),
        ]
    return b"".join([*program, step(_RETURN, _EPERM)])


def forbid_new_privileges() -> None:
    """Make set-user-id programs and file capabilities worthless for this process. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0)


def install_filter() -> None:
    """Filter this process's system calls from now on; it cannot be undone. Raises OSError where the kernel has none."""
    program = _build_filter(platform.machine(), os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    head = _Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(head))


def _prctl(option: int, value: int, pointer: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(value), ctypes.c_ulong(pointer), ctypes.c_ulong(0), ctypes.c_ulong(0)]
    if libc.prctl(ctypes.c_int(option), *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
