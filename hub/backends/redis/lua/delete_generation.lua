-- Deletes the record of a generation that has ended.
-- KEYS  1 record  2 parts      ARGV  1 run id
-- Reply 1, or 0 when the generation has not ended
local status = redis.call('HGET', KEYS[1], 'status')
if status and status ~= 'done' and status ~= 'stopped' and status ~= 'failed' then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
