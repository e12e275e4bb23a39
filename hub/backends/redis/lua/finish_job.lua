-- KEYS  3 stream   ARGV  1 run  2 group  3 consumer  4 entry  5 'over', or 'again' for another worker
-- The job of an entry is over, and the next ones become due. Who does not hold it changes nothing.
local held = redis.call('XPENDING', KEYS[3], ARGV[2], ARGV[4], ARGV[4], 1)
if #held == 0 or held[1][2] ~= ARGV[3] then
  return ''
end
local found = redis.call('XRANGE', KEYS[3], ARGV[4], ARGV[4])
redis.call('XACK', KEYS[3], ARGV[2], ARGV[4])
if #found == 0 then
  return ''
end
redis.call('XDEL', KEYS[3], ARGV[4])
local fields = found[1][2]
if ARGV[5] == 'again' then
  redis.call('XADD', KEYS[3], '*', unpack(fields))
else
  redis.call('HDEL', KEYS[2], 'j ' .. fields[2])
  count('r ' .. fields[4], -1)
  count('R ' .. fields[6], -1)
  dispatch()
end
return ''
