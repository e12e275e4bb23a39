-- Lists users who have a topic in their inboxes.
-- KEYS  1 subscribers of the topic (update_subscribers.lua)
-- ARGV  1 run id  2 score from which the page begins, or ''  3 number of users with this score that the
--       pages before had  4 max users
-- Reply {user, score, user, score, ...}
local from = ARGV[2] ~= '' and ARGV[2] or string.format('%d', now_ms())
return redis.call('ZRANGEBYSCORE', KEYS[1], from, '+inf', 'WITHSCORES', 'LIMIT', ARGV[3], ARGV[4])
