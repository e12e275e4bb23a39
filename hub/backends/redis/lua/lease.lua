-- Shared by several scripts: the lease of an external producer, in these fields of a record's hash.
--   progress     '<seq>:<chars>:<author>', how far the newest attempt has come; it exists once an
--                external producer has begun an attempt
--   notes        JSON that the next parts and the end need
--   lease        '<end in ms> <length in ms> <history>' (channel_head.lua); missing when nobody
--                holds the attempt. The history is empty where the server tells neither of its ids
-- Invariant: a lease lasts at least its length after its last renewal. When another server, whose
-- clock may be another one, has the record, or the clock was set back, it begins anew.

local function renew_lease(record_key, run_id, length_ms)
  local until_ms = string.format('%d', now_ms() + tonumber(length_ms))
  redis.call('HSET', record_key, 'lease', until_ms .. ' ' .. length_ms .. ' ' .. current_history(run_id))
end

-- Returns whether a lease, the value of the field, has ended.
local function has_lease_ended(record_key, run_id, lease)
  local until_ms, length_ms, written_in = string.match(lease, '^(%d+) (%d+) (%w*)$')
  local left = tonumber(until_ms) - now_ms()
  if written_in ~= current_history(run_id) or left > tonumber(length_ms) then
    renew_lease(record_key, run_id, length_ms)
    return false
  end
  return left <= 0
end
