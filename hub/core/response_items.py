"""How items of OpenAI's Responses that the hub does not know pass through it.

In a request, such an item is a content part `{"type": ITEM_PART, "item": {…}}`. In an answer, each
event of such an item is a part `Data` with the name EVENT_DATA and the item's id, and the event as
its value: `response.output_item.added`, events like `response.web_search_call.searching`, and
`response.output_item.done`, which is the one that the record keeps.

The text of all messages of an answer is one text for the hub. A message whose phase says what it is
for (`commentary`, `final_answer`) begins with a part `Data` with the name MESSAGE_DATA and
the value `{"phase": …}`, and so does each message after it. A request has the message as an
ITEM_PART.
"""

from __future__ import annotations

from typing import Final

ITEM_PART: Final = "response_item"
EVENT_DATA: Final = "openai_response_event"
MESSAGE_DATA: Final = "openai_response_message"
