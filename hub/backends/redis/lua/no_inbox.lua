-- A part of publish.lua, for calls whose events are not kept in an inbox: see inbox.lua.
local open_inbox, add_item, append_item_events, is_muted
