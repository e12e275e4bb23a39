-- Adds to a day's sums of one user and model.
-- KEYS  1 sums of a partition's users on a day, a hash: '<what> <user> <model>'
-- ARGV  1 run  2 user and model  3 life in ms  then what and how many, what and how many ...
for n = 4, #ARGV, 2 do
  if ARGV[n + 1] ~= '0' then
    redis.call('HINCRBY', KEYS[1], ARGV[n] .. ' ' .. ARGV[2], ARGV[n + 1])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return ''
