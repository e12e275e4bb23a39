-- Adds to the bytes that a user has stored, unless they would exceed the maximum.
-- KEYS  1 bytes by interval, a hash: number of the interval -> bytes
-- ARGV  1 run id  2 bytes (negative: they were not stored)  3 max bytes  4 how long bytes are stored,
--       in ms  5 number of intervals in this time
-- Reply 0, or after how many ms the oldest intervals are over that make room
-- Invariant: bytes count for at least the time for which they are stored, and one interval more.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bytes, max_bytes, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local width = math.ceil(tonumber(ARGV[4]) / count)
local current = math.floor(now / width)
local fields = redis.call('HGETALL', KEYS[1])
local intervals, sum = {}, 0
for n = 1, #fields, 2 do
  local interval = tonumber(fields[n])
  if interval < current - count then
    redis.call('HDEL', KEYS[1], fields[n])
  else
    intervals[#intervals + 1] = {interval, tonumber(fields[n + 1])}
    sum = sum + tonumber(fields[n + 1])
  end
end
if bytes > 0 and sum + bytes > max_bytes then
  table.sort(intervals, function(a, b) return a[1] < b[1] end)
  local wait = (count + 1) * width
  for _, interval in ipairs(intervals) do
    sum = sum - interval[2]
    if sum + bytes <= max_bytes then
      wait = (interval[1] + count + 1) * width - now
      break
    end
  end
  return math.max(1, wait)
end
redis.call('HINCRBY', KEYS[1], string.format('%d', current), bytes)
redis.call('PEXPIRE', KEYS[1], (count + 1) * width)
return 0
