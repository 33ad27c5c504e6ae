-- What can be asked of a resource of hearth.banjonet.com, whichever kind it is.
local spec = obj.spec or {}
local deleting = obj.metadata.deletionTimestamp ~= nil
local suspended = spec.suspend == true

local actions = {}
actions["suspend"] = {disabled = deleting or suspended, iconClass = "fa fa-fw fa-pause-circle"}
actions["resume"] = {disabled = deleting or not suspended, iconClass = "fa fa-fw fa-play-circle"}
if obj.kind == "ModelDeployment" or (obj.kind == "InferenceNode" and spec.type == "Managed") then
  actions["restart"] = {disabled = deleting or suspended, iconClass = "fa fa-fw fa-redo"}
end
if obj.kind == "IngestionSource" then
  actions["run-now"] = {disabled = deleting or suspended, iconClass = "fa fa-fw fa-bolt"}
end
if obj.kind == "InferenceNode" and spec.wake ~= nil then
  actions["wake"] = {disabled = deleting, iconClass = "fa fa-fw fa-power-off"}
end
return actions
