-- Erases the items and the settings of a user's inbox.
-- KEYS  1 state  2 items  3 settings of the inbox  4 head of the user's channel
-- ARGV  1 run id
-- Invariant: all of it goes in one step, because a publish that finds the counts without the items would add an
-- item to a stream that has no time to live.
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HDEL', KEYS[4], 'i')
return ''
