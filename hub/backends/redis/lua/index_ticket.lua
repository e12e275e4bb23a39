-- Adds a ticket to those of its user, or extends its life there.
-- KEYS  1 tickets of the user, a sorted set: SHA-256 of the id by when the ticket expires (ms, by the
--       clock of this server)
-- ARGV  1 run id  2 SHA-256 of the id  3 in how many ms the ticket expires
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3], 'NX')
redis.call('PEXPIRE', KEYS[1], ARGV[3], 'GT')
return ''
