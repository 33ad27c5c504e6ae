-- Health of every kind of hearth.banjonet.com: all have the same status (observedGeneration, conditions, Ready last).
-- It needs no library but the base one. Ready and observedGeneration follow kstatus, which reads the same objects.
--
-- A reason that passes by itself is Progressing, any other that stands in the way is Degraded: somebody has to look.
-- hearth_api.reasons.PASSING is the source of this table; a test compares them.
local passing = {
  Downloading = true,
  EmbeddingModelNotReady = true,
  Empty = true,
  Erasing = true,
  GpuInUse = true,
  Indexing = true,
  KnowledgeBaseNotReady = true,
  Loading = true,
  MemoryShort = true,
  NeverRan = true,
  NodeNotReady = true,
  NodeStarting = true,
  NotObserved = true,
  OnBattery = true,
  OwnerActive = true,
  OwnerHours = true,
  Recovering = true,
  RerankModelNotReady = true,
  RollingOut = true,
  Running = true,
  StoreNotReady = true,
}

local function health(status, message)
  return {status = status, message = message or ""}
end

local metadata = obj.metadata or {}
local status = obj.status or {}
local generation = tonumber(metadata.generation)

local function is_behind(observed)
  return generation ~= nil and tonumber(observed) ~= generation
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.type ~= nil then
    conditions[condition.type] = condition
  end
end

local function is(type, wanted)
  return conditions[type] ~= nil and conditions[type].status == wanted
end

local function say(type)
  local condition = conditions[type]
  local text = condition.reason or "Unknown"
  if condition.message ~= nil and condition.message ~= "" then
    text = text .. ": " .. condition.message
  end
  return text
end

if metadata.deletionTimestamp ~= nil then
  return health("Progressing", "is being deleted")
end
if is_behind(status.observedGeneration) then
  return health("Progressing", "the operator has not looked at the newest spec yet")
end
local ready = conditions["Ready"]
if ready == nil or is_behind(ready.observedGeneration) then
  return health("Progressing", "the operator has not said yet whether it is ready")
end

local rolled_out = conditions["Progressing"] ~= nil and conditions["Progressing"].reason == "RolledOut"
local rolling_out = is("Progressing", "True") and not rolled_out

if ready.status == "True" then
  -- A revision that came to nothing is no success, although the former one serves.
  if is("Progressing", "False") and not rolled_out then
    return health("Degraded", say("Progressing"))
  end
  if is("Degraded", "True") then
    local reason = conditions["Degraded"].reason
    if reason == "FallbackServing" or reason == "RayUnreachable" or reason == "RerankModelNotReady" then
      -- What variants are for: requests are answered. The message names who answers and why.
      -- A knowledge base whose reranker sleeps answers as well.
      return health("Healthy", say("Degraded"))
    end
    return health(rolling_out and "Progressing" or "Degraded", say("Degraded"))
  end
  if is("Synced", "True") and conditions["Synced"].reason == "PartiallyFailed" then
    return health("Healthy", say("Synced"))
  end
  return health("Healthy", ready.message)
end

if ready.reason == "Suspended" then
  return health("Suspended", ready.message)
end
-- Several variants, each with a reason of its own: the rollout's deadline decides.
if ready.reason == "NoVariantAvailable" and rolling_out then
  return health("Progressing", say("Ready"))
end
return health(passing[ready.reason or ""] and "Progressing" or "Degraded", say("Ready"))
