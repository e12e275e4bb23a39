-- Stores a stop request in the record of a generation.
-- KEYS  1 record      ARGV  1 run id  2 who requests it
-- Reply '' (no such record), 'ended' or 'stopping'
-- Invariant: the first stop request is kept; a stop request after the end changes nothing.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then
  return ''
end
if status == 'done' or status == 'stopped' or status == 'failed' then
  return 'ended'
end
redis.call('HSETNX', KEYS[1], 'stop_requested_by', ARGV[2])
redis.call('HSET', KEYS[1], 'status', 'stopping')
return 'stopping'
