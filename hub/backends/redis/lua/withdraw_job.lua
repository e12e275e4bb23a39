-- ARGV  1 run  2 queue  3 upstream  4 user  5 generation
-- A job that waits, waits no more; one that is due is left to the worker that takes it.
if redis.call('ZREM', KEYS[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5]) == 1 then
  no_longer_waits(ARGV[4], ARGV[3])
  redis.call('HDEL', KEYS[2], 'j ' .. ARGV[5])
end
return ''
