-- A generation's record, once for each idempotency key of a user.
-- KEYS  1 head of the user's channel  2 its log  3 idempotency key's memory  4 record  5 text
--       and, or not,  6 the chat's newest generation
-- ARGV  1 run  2 fresh epoch  3 head's life in ms  4 '1' when there is an idempotency key
--       5 generation's id  6 user  7 question (JSON)  8 record's life in ms
--       9 when it was asked, in Unix seconds
-- Reply {id, epoch, offset, 1 when new}: the position just before the generation's first event
-- Invariant: a key that has started a generation never starts another while it is remembered.
if ARGV[4] == '1' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local id, epoch, offset = string.match(before, '^(%w+) (%w+) (%d+)$')
    return {id, epoch, tonumber(offset), 0}
  end
end
local head = head_of(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
local after = head.epoch .. ' ' .. string.format('%d', head.offset)
redis.call('HSET', KEYS[4], 'user', ARGV[6], 'request', ARGV[7],
  'status', 'queued', 'attempt', 0, 'deltas', 0, 'requested_at', ARGV[9], 'after', after)
redis.call('PEXPIRE', KEYS[4], ARGV[8])
redis.call('SET', KEYS[5], '', 'PX', ARGV[8])
if ARGV[4] == '1' then
  redis.call('SET', KEYS[3], ARGV[5] .. ' ' .. after, 'PX', ARGV[8])
end
if KEYS[6] then
  local before = redis.call('GET', KEYS[6])
  if before then
    redis.call('HSET', KEYS[4], 'before', before)
  end
  redis.call('SET', KEYS[6], ARGV[5], 'PX', ARGV[8])
end
return {ARGV[5], head.epoch, head.offset, 1}
