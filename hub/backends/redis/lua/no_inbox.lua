-- A part of publish.lua, for calls whose events are not kept in an inbox: see keep_item.lua.
local prepare_item, store_item, item_lines
