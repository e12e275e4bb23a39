-- Reads the blocked users and tokens.
-- KEYS  1 denylist (see block_subject.lua)
-- ARGV  1 run id
-- Reply {subject, seconds until it is over, subject, seconds ...}
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local entries = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for n = 2, #entries, 2 do
  entries[n] = string.format('%.6f', entries[n] - now)
end
return entries
