-- KEYS  3 stream       ARGV  1 run  2 group  3 entry  4 'over', or 'again' for another worker
-- The job of an entry is over, and the next ones become due. A second time changes nothing.
local found = redis.call('XRANGE', KEYS[3], ARGV[3], ARGV[3])
redis.call('XACK', KEYS[3], ARGV[2], ARGV[3])
if #found == 0 then
  return ''
end
redis.call('XDEL', KEYS[3], ARGV[3])
local fields = found[1][2]
if ARGV[4] == 'again' then
  redis.call('XADD', KEYS[3], '*', unpack(fields))
else
  redis.call('HDEL', KEYS[2], 'j ' .. fields[2])
  count('r ' .. fields[4], -1)
  count('R ' .. fields[6], -1)
  dispatch()
end
return ''
