-- Completes the job of an entry, so that the next ones become due, or releases it to another worker.
-- Nothing changes when the consumer does not hold the entry.
-- KEYS  1 waiting  2 counts  3 stream  4 the stream to which the job is released
-- ARGV  1 run id  2 group  3 consumer  4 id of the entry  5 'complete' or 'release'
local held = redis.call('XPENDING', KEYS[3], ARGV[2], ARGV[4], ARGV[4], 1)
if #held == 0 or held[1][2] ~= ARGV[3] then
  return ''
end
local entries = redis.call('XRANGE', KEYS[3], ARGV[4], ARGV[4])
redis.call('XACK', KEYS[3], ARGV[2], ARGV[4])
if #entries == 0 then
  return ''
end
redis.call('XDEL', KEYS[3], ARGV[4])
local fields = entries[1][2]
count_version(KEYS[3], -1)
if ARGV[5] == 'release' then
  local id = redis.call('XADD', KEYS[4], '*', unpack(fields))
  redis.call('HSET', KEYS[2], 'j ' .. fields[2], string.match(KEYS[4], '}:jobs:due:(.*)$') .. ' ' .. id)
  count_version(KEYS[4], 1)
else
  redis.call('HDEL', KEYS[2], 'j ' .. fields[2], 'u ' .. fields[2])
  count('r ' .. fields[4], -1)
  count('R ' .. fields[6], -1)
  dispatch()
end
return ''
