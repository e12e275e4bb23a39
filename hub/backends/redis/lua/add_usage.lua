-- Adds to the usage totals of one user and model on one day.
-- KEYS  1 totals of a partition's users on one day, a hash: '<counter> <user> <model>'
-- ARGV  1 run id  2 user and model  3 ttl in ms  then counter, number, counter, number ...
for n = 4, #ARGV, 2 do
  if ARGV[n + 1] ~= '0' then
    redis.call('HINCRBY', KEYS[1], ARGV[n] .. ' ' .. ARGV[2], ARGV[n + 1])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return ''
