-- Adds a generation to those of its user when it belongs to a topic, whose partition is another one.
-- KEYS  1 generations of the user
-- ARGV  1 run id  2 id  3 max generations in the set  4 max that lists look at  5 ttl in ms
add_to_user(KEYS[1], ARGV[2], now_ms(), ARGV[3], ARGV[4], ARGV[5])
return ''
