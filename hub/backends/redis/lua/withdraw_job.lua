-- Removes a job that no worker holds: one that waits, one that is due and was not given to a worker, or
-- one whose lease has expired.
-- KEYS  1 waiting  2 counts
-- ARGV  1 run id  2 queue  3 upstream  4 user  5 generation  6 group  7 length of a lease in ms
--       8 topic, or ''
local stream, id = find_due(ARGV[5])
if stream then
  local idle = find_lease(stream, ARGV[6], id)
  if not idle or idle >= tonumber(ARGV[7]) then
    redis.pcall('XACK', stream, ARGV[6], id)
    redis.call('XDEL', stream, id)
    count_version(stream, -1)
    redis.call('HDEL', KEYS[2], 'j ' .. ARGV[5], 'u ' .. ARGV[5])
    count('r ' .. ARGV[4], -1)
    count('R ' .. ARGV[3], -1)
    dispatch()
  end
elseif redis.call('ZREM', KEYS[1], build_member(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[8])) == 1 then
  count_not_waiting(ARGV[4], ARGV[3])
  redis.call('HDEL', KEYS[2], 'j ' .. ARGV[5], 'u ' .. ARGV[5])
end
return ''
