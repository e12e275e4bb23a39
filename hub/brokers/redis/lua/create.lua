-- A generation's record, once for each idempotency key of a user.
-- KEYS  1 head of the user's channel  2 its log  3 idempotency key's memory  4 record  5 text
-- ARGV  1 fresh epoch  2 head's life in ms  3 '1' when there is an idempotency key
--       4 generation's id  5 user  6 question (JSON)  7 record's life in ms
-- Reply {id, epoch, offset, 1 when new}: the position just before the generation's first event
-- Invariant: a key that has started a generation never starts another while it is remembered.
if ARGV[3] == '1' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local id, epoch, offset = string.match(before, '^(%w+) (%w+) (%d+)$')
    return {id, epoch, tonumber(offset), 0}
  end
end
local epoch, offset = head_of(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[4], 'user', ARGV[5], 'question', ARGV[6],
  'status', 'queued', 'attempt', 0, 'deltas', 0)
redis.call('PEXPIRE', KEYS[4], ARGV[7])
redis.call('SET', KEYS[5], '', 'PX', ARGV[7])
if ARGV[3] == '1' then
  redis.call('SET', KEYS[3], ARGV[4] .. ' ' .. epoch .. ' ' .. string.format('%d', offset),
    'PX', ARGV[7])
end
return {ARGV[4], epoch, offset, 1}
