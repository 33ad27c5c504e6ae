"""Argo CD's sandbox around a real Lua 5.1: the libraries package, base and table, and an `os` that only tells time.

Argo CD opens exactly these for scripts in its ConfigMap (`util/lua/lua.go`); strings have no methods there.
"""

from typing import Any

from lupa.lua51 import LuaRuntime, lua_type

NOW = "2026-11-23T06:00:00Z"
_SANDBOX = """
local loaded, preload, date = package.loaded, package.preload, os.date
local clock = ...
getmetatable("").__index = nil
for _, name in ipairs({"string", "math", "io", "debug", "coroutine", "python", "jit", "bit"}) do
  _G[name] = nil
  loaded[name] = nil
end
local safe = {time = function() return clock end, date = function(format) return date(format, clock) end}
os = safe
loaded["os"] = nil
preload["os"] = function() return safe end
"""
_CLOCK = 1795413600
"""NOW as Unix time."""


def run_script(script: str, obj: dict[str, Any]) -> Any:
    """Return what a script returns for an object, as plain values. An empty table becomes an empty list, as in Argo."""
    lua = LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    lua.execute(_SANDBOX, _CLOCK)
    lua.globals().obj = _to_lua(lua, obj)
    return _to_python(lua.execute(script))


def _to_lua(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: _to_lua(lua, item) for key, item in value.items() if item is not None})
    if isinstance(value, list | tuple):
        return lua.table_from([_to_lua(lua, item) for item in value])
    return value


def _to_python(value: Any) -> Any:
    if lua_type(value) != "table":
        return value
    keys = list(value.keys())
    if all(isinstance(key, int) for key in keys):
        return [_to_python(value[index + 1]) for index in range(len(keys))]
    return {key: _to_python(value[key]) for key in keys}
