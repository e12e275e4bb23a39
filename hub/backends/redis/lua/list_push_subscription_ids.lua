-- Lists the push subscriptions of a user, those that were put first first.
-- KEYS  1 ids of the user's subscriptions    ARGV  1 run id  2 ttl in ms
-- Reply the ids
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZRANGE', KEYS[1], '(' .. string.format('%d', now - tonumber(ARGV[2])), '+inf', 'BYSCORE')
