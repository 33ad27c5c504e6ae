import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hearth_hack.processes import (
    CommandError,
    Daemon,
    DaemonError,
    ProcessRecord,
    boot_id,
    is_alive,
    parse_stat,
    record_from_json,
    run_logged,
    start_daemon,
    start_time,
    stop_process,
    wait_ready,
)


@pytest.fixture
def sleeper(tmp_path):
    daemon = Daemon(name="sleeper", command=("sleep", "60"), log=tmp_path / "sleeper.log", ready=lambda: None)
    record = start_daemon(daemon)
    yield daemon, record
    stop_process(record)


def own_record():
    started = start_time(os.getpid())
    assert started is not None
    return ProcessRecord(name="test", pid=os.getpid(), started=started, boot=boot_id())


def test_stat_is_read_behind_the_last_parenthesis():
    fields = " ".join(str(number) for number in range(4, 60))
    assert parse_stat(f"77 (a (strange) name) S {fields}") == ("S", 22)


def test_a_record_survives_json():
    record = own_record()
    assert record_from_json(record.as_json()) == record


def test_a_recycled_process_id_is_not_the_recorded_process():
    record = own_record()
    assert is_alive(record)
    assert not is_alive(replace(record, started=record.started + 1))
    assert not is_alive(replace(record, boot="another-boot"))


def test_a_recycled_process_id_is_never_stopped(sleeper):
    _, record = sleeper
    stop_process(replace(record, started=record.started + 1))
    assert is_alive(record)


def test_a_daemon_is_stopped_and_a_second_stop_does_nothing(sleeper):
    _, record = sleeper
    stop_process(record)
    assert not is_alive(record)
    stop_process(record)


def test_a_daemon_lives_in_a_session_of_its_own(sleeper):
    _, record = sleeper
    assert os.getsid(record.pid) == record.pid


def test_a_daemon_that_ends_while_starting_is_reported_with_its_log(tmp_path):
    log = tmp_path / "failing.log"
    command = (sys.executable, "-c", "import time; print('address in use', flush=True); time.sleep(0.2)")
    daemon = Daemon(name="failing", command=command, log=log, ready=lambda: "no answer")
    record = start_daemon(daemon)
    with pytest.raises(DaemonError, match="address in use") as caught:
        wait_ready(daemon, record, seconds=30)
    assert caught.value.log == log


def test_a_daemon_that_is_not_ready_in_time_says_what_is_missing(sleeper):
    daemon, record = sleeper
    with pytest.raises(DaemonError, match="not ready after 0 s: the door is closed"):
        wait_ready(replace(daemon, ready=lambda: "the door is closed"), record, seconds=0)


def test_a_failing_program_is_reported_with_its_log(tmp_path):
    log = tmp_path / "logs" / "program.log"
    with pytest.raises(CommandError, match="status 3") as caught:
        run_logged(["sh", "-c", "echo broken; exit 3"], log=log)
    assert "broken" in str(caught.value)
    assert Path(caught.value.log).read_text().startswith("$ sh -c")
