-- Adds deliveries to the ends of their lanes (deliveries.lua).
-- KEYS  the `due` key of the queue of each delivery
-- ARGV  1 run id; then for each delivery: limits, channel, lane, id, delay in ms, body
for n, due_key in ipairs(KEYS) do
  local first = 6 * n - 4
  add_delivery(due_key, ARGV[1], ARGV[first], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3],
    ARGV[first + 4], ARGV[first + 5], '')
end
