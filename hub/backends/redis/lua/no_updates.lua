-- A part of publish.lua, for calls whose events update no generation: see update_generation.lua.
local update_generation, count_received

-- Stands in for deliveries.lua where no event has deliveries.
local function add_delivery() end
