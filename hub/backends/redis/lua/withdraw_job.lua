-- Removes a waiting job. A job that is due stays for the worker that reserves it.
-- KEYS  1 waiting  2 counts
-- ARGV  1 run id  2 queue  3 upstream  4 user  5 generation
if redis.call('ZREM', KEYS[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5]) == 1 then
  count_not_waiting(ARGV[4], ARGV[3])
  redis.call('HDEL', KEYS[2], 'j ' .. ARGV[5])
end
return ''
