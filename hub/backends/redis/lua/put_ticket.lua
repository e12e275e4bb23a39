-- Stores a new ticket.
-- KEYS  1 ticket    ARGV  1 run id  2 data (JSON)  3 when its token expires (ms)  4 ttl in ms
redis.call('HSET', KEYS[1], 'd', ARGV[2], 'e', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return ''
