-- Takes push subscriptions out of those of a user.
-- KEYS  1 ids of the user's subscriptions    ARGV  1 run id  2… ids
for n = 2, #ARGV do
  redis.call('ZREM', KEYS[1], ARGV[n])
end
return ''
