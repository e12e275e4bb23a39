-- A generation's record and its text so far, as they are at one moment.
-- KEYS  1 record  2 text      ARGV  1 run
-- Reply {text, field, value, field, value ...}, or {} when there is no such record
local record = redis.call('HGETALL', KEYS[1])
if #record > 0 then
  table.insert(record, 1, redis.call('GET', KEYS[2]) or '')
end
return record
