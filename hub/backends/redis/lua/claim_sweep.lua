-- Lets one process of all go through the open generations in each interval.
-- KEYS  1 time of the last sweep in ms
-- ARGV  1 run id  2 interval in ms
-- Reply 1 if the caller is to go through them, else 0
-- A time in the future, from a server whose clock was ahead, does not count.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local last = tonumber(redis.call('GET', KEYS[1]) or -1)
if last <= now and now - last < tonumber(ARGV[2]) then
  return 0
end
redis.call('SET', KEYS[1], string.format('%d', now), 'PX', ARGV[2] * 10)
return 1
