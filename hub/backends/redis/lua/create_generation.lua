-- Creates the record of a generation, once for each idempotency key of a user.
-- KEYS  1 head of the user's channel  2 its log  3 key of the idempotency key  4 record  5 parts
--       6 open generations  optionally  7 newest generation of the chat
-- ARGV  1 run id  2 new epoch  3 ttl of the head in ms  4 digest of the request when there is an
--       idempotency key, else ''
--       5 id of the generation  6 user  7 request (JSON)  8 ttl of an ended record in ms
-- Reply {id, epoch, offset, 1 if new}: the position is just before the generation's first event; or
--       {} when the idempotency key has started a generation with another request
-- Invariants
-- 1. An idempotency key that has started a generation starts no other one while it exists.
-- 2. A generation is among the open ones from its creation to its end. Meanwhile its record lives at
--    least as long as a head, so that a clock that is ahead after a fail-over does not expire it.
if ARGV[4] ~= '' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local id, epoch, offset, digest = string.match(before, '^(%w+) (%w+) (%d+) (%w+)$')
    if digest ~= ARGV[4] then
      return {}
    end
    return {id, epoch, tonumber(offset), 0}
  end
end
local head = read_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
local now = now_ms()
local open_ttl_ms = math.max(tonumber(ARGV[3]), tonumber(ARGV[8]))
local after = head.epoch .. ' ' .. string.format('%d', head.offset)
redis.call('HSET', KEYS[4], 'user', ARGV[6], 'request', ARGV[7],
  'status', 'queued', 'attempt', 0, 'deltas', 0, 'after', after,
  'requested_at', string.format('%.3f', now / 1000), 'clock', current_history(ARGV[1]))
redis.call('PEXPIRE', KEYS[4], open_ttl_ms)
redis.call('SET', KEYS[5], '', 'PX', open_ttl_ms)
redis.call('ZADD', KEYS[6], now, ARGV[5])
redis.call('PEXPIRE', KEYS[6], open_ttl_ms)
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[3], ARGV[5] .. ' ' .. after .. ' ' .. ARGV[4], 'PX', ARGV[8])
end
if KEYS[7] then
  local before = redis.call('GET', KEYS[7])
  if before then
    redis.call('HSET', KEYS[4], 'before', before)
  end
  redis.call('SET', KEYS[7], ARGV[5], 'PX', ARGV[8])
end
return {ARGV[5], head.epoch, head.offset, 1}
