-- Lets a job be taken again that was taken from its queue.
-- KEYS  1 waiting  2 counts      ARGV  1 run id  2 group  3 generation
local stream, id = find_due(ARGV[3])
if not stream or not find_lease(stream, ARGV[2], id) then
  return ''
end
local entries = redis.call('XRANGE', stream, id, id)
redis.call('XACK', stream, ARGV[2], id)
redis.call('XDEL', stream, id)
if #entries > 0 then
  local again = redis.call('XADD', stream, '*', unpack(entries[1][2]))
  redis.call('HSET', KEYS[2], 'j ' .. ARGV[3], string.match(stream, '}:jobs:due:(.*)$') .. ' ' .. again)
  redis.call('HDEL', KEYS[2], 'u ' .. ARGV[3])
end
return ''
