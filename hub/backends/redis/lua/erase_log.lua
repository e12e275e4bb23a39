-- Erases the log and the head of a channel, and notifies its subscribers.
-- KEYS  1 head  2 log
-- ARGV  1 run id  2 PUBLISH or SPUBLISH  3 new epoch  4 ttl of a head in ms
-- Invariant: every position of the channel that anybody has is unknown afterwards, also those of the
-- blank epochs (channel_head.lua): until no blank epoch from before the erasure is accepted any more,
-- the channel has a blank epoch of its own, whose key does not name it.
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SET', erased_key(KEYS[1]), ARGV[3], 'PX', ARGV[4])
notify(ARGV[2], KEYS[2], ARGV[3], '0', '', '', '')
return ''
