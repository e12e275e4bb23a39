-- Voids the lease of an external producer, so that its job can be claimed again.
-- KEYS  1 record       ARGV  1 run id  2 attempt  3 writer  4 'lost' or 'returned'
-- Reply 1, or 0 when the attempt is not the newest one, has ended, or its lease, if it is to be lost,
--        has not ended
-- Field `returns`: how many attempts were returned. They are no losses.
local record = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'writer', 'lease')
local status = record[1]
if not status or status == 'done' or status == 'stopped' or status == 'failed'
  or record[2] ~= ARGV[2] or record[3] ~= ARGV[3] or not record[4] then
  return 0
end
if ARGV[4] == 'lost' and not has_lease_ended(KEYS[1], ARGV[1], record[4]) then
  return 0
end
redis.call('HDEL', KEYS[1], 'lease')
redis.call('HSET', KEYS[1], 'writer', '')
if ARGV[4] == 'returned' then
  redis.call('HINCRBY', KEYS[1], 'returns', 1)
end
return 1
