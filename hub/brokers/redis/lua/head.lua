-- Shared by the scripts below it: a channel's head, {e = epoch, o = offset of its newest event}.
-- Invariants
-- 1. A channel whose head is gone begins a new epoch, and with an empty log: entries of an older
--    epoch would carry offsets that mean something else now.
-- 2. In one epoch offsets are 1, 2, 3 ... without a hole.
local function head_of(head, log, fresh_epoch, ttl_ms)
  local found = redis.call('HMGET', head, 'e', 'o')
  if found[1] then
    return found[1], tonumber(found[2])
  end
  redis.call('DEL', log)
  redis.call('HSET', head, 'e', fresh_epoch, 'o', 0)
  redis.call('PEXPIRE', head, ttl_ms)
  return fresh_epoch, 0
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
