"""The codes of all errors that a client can receive, with their documentation.

A code is stable: programs compare it, and the words of `detail` may change. The pages
docs/reference/errors.md and docs/guides/troubleshooting.md are generated from this module. A new
error gets an entry here, and the place that raises it names the entry.

Groups: requests (400, 413, 415, …), identity (401), permission (403), missing resources (404),
limits (429), availability (5xx), and answers that fail (`code` in `generation.failed`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

DOCUMENTATION_PATH: Final = "/docs/reference/errors.html"
"""The path in `type` of problem documents. It depends on no setting, so that it is stable."""


class ErrorCode(NamedTuple):
    """One kind of error.

    name: the code. status: the HTTP status; for answers that fail, the status under /v1. title:
    what the client sees, in a few words. cause, remedy: sentences for the documentation, in
    Markdown, with links as seen from docs/reference.
    retry: whether and when the same request can succeed.
    """

    name: str
    status: int
    title: str
    cause: str
    remedy: str
    retry: str = "no"

    @property
    def uri(self) -> str:
        """The `type` of problem documents (RFC 9457): the anchor in the documentation."""
        return f"{DOCUMENTATION_PATH}#{self.name}"


# Requests that are wrong.

INVALID_REQUEST: Final = ErrorCode(
    "invalid_request",
    400,
    "The request is malformed",
    "The request breaks a rule that `detail` names.",
    "Correct the request as `detail` says.",
)
INVALID_FIELD: Final = ErrorCode(
    "invalid_field",
    400,
    "A field has an invalid value",
    "A field of the body or a query parameter has the wrong type or a value that is not "
    "allowed. `path` names the field, and `detail` the rule.",
    "Correct the field. [HTTP](http.md) and `/openapi.json` list the fields of each route.",
)
INVALID_JSON: Final = ErrorCode(
    "invalid_json",
    400,
    "The body is not JSON",
    "The body is cut off, is not UTF-8, has a syntax error, or nests more than 500 arrays and "
    "objects. Shells often remove the quotes.",
    "Check quotes and encoding. With `curl`, put the body in single quotes or in a file (`-d "
    "@body.json`).",
)
UNKNOWN_FIELD: Final = ErrorCode(
    "unknown_field",
    400,
    "The body has a field that does not exist",
    "The name is misspelled, or the field belongs at another level. `path` names it.",
    "Remove the field, or correct its name.",
)
INVALID_USER_ID: Final = ErrorCode(
    "invalid_user_id",
    400,
    "A user id has characters that are not allowed",
    "The id is empty, longer than 256 characters, or contains white space or a control character.",
    "Use the id that your tokens have in `sub`, and percent-encode it in URLs.",
)
INVALID_TOPIC: Final = ErrorCode(
    "invalid_topic",
    400,
    "A topic name has characters that are not allowed",
    "The name is empty, too long, or contains a character that `detail` excludes.",
    "Choose another name. `*` at the end is allowed only in the claim `topics` of a token.",
)
TOO_MANY_TOPICS: Final = ErrorCode(
    "too_many_topics",
    400,
    "A connection follows too many topics",
    "The request names more topics than `stream.max_topics`.",
    "Follow fewer topics with one connection, or raise the setting.",
)
INVALID_CURSOR: Final = ErrorCode(
    "invalid_cursor",
    400,
    "The cursor is not one of the hub's",
    "`?cursor=` is cut off, belongs to another server, or was made by hand.",
    "Send a cursor that the hub has sent, `live` or `start`. Without a cursor the stream begins "
    "now.",
)
INVALID_EVENT_NAME: Final = ErrorCode(
    "invalid_event_name",
    400,
    "An event name is not allowed",
    "The name is empty, too long, contains a line break, or begins with a prefix that the hub "
    "uses for its own events (`hub.`, `generation.`, `presence.`, `inbox.`).",
    "Choose another name, for example `order.shipped`.",
)
INVALID_IDEMPOTENCY_KEY: Final = ErrorCode(
    "invalid_idempotency_key",
    400,
    "An idempotency key is not allowed",
    "The key is empty, too long, or contains a line break.",
    "Use a short key that names what happened, for example `order-981-shipped`.",
)
INVALID_ITEM: Final = ErrorCode(
    "invalid_item",
    400,
    "This is not the id of an inbox item",
    "`before`, `items` or `up_to` has a text that is no id of an item.",
    "Send the `id` of an item, or the `next` of a page, as `GET /inbox` and the event `inbox.item` "
    "have it.",
)
INPUT_INVALID: Final = ErrorCode(
    "input_invalid",
    400,
    "The value is not one that the answer asks for",
    "The value is not among the `options` of the request, or does not match its `schema`. `path` "
    "names the place in the value, and `detail` the rule. Nothing was stored.",
    "Correct the value, and send it again before `expires_at`.",
)
USER_REQUIRED: Final = ErrorCode(
    "user_required",
    400,
    "The request names no user",
    "`hub dev` takes the user from the URL, because it requires no token.",
    "Add `?user=alice` to the URL.",
)
UPSTREAM_NOT_CONFIGURED: Final = ErrorCode(
    "upstream_not_configured",
    400,
    "The hub has no LLM",
    "The node has no entry in `[upstreams]`.",
    "Configure an LLM: [Connect an LLM](../guides/upstreams.md). Nodes and workers need the "
    "same `[upstreams]`.",
)
UNKNOWN_UPSTREAM: Final = ErrorCode(
    "unknown_upstream",
    400,
    "There is no such upstream or model",
    "`upstream` or `model` names nothing that this node knows.",
    "Use a name that `detail` lists, or add the upstream to the settings of nodes and workers.",
)
MODEL_REQUIRED: Final = ErrorCode(
    "model_required",
    400,
    "The request names no model",
    "The upstream has no `default_model`.",
    "Send `model`, or set `default_model` of the upstream.",
)
UNSUPPORTED_PARAMETER: Final = ErrorCode(
    "unsupported_parameter",
    400,
    "The hub does not support a parameter",
    "A compatibility API has a parameter or a kind of content that the hub cannot carry out. "
    "The hub refuses it, because an SDK would not notice that it is ignored.",
    "Remove the parameter that `path` names. [OpenAI SDK](../clients/openai-sdk.md) and the "
    "pages of the other clients list what works.",
)
UNSUPPORTED_OPERATION: Final = ErrorCode(
    "unsupported_operation",
    400,
    "The hub does not support an operation of another API",
    "The route belongs to a compatibility API, and the hub cannot do what it is for.",
    "`detail` says what to use instead. [OpenAI SDK](../clients/openai-sdk.md) and the pages of "
    "the other clients list what works.",
)
STREAM_REQUIRED: Final = ErrorCode(
    "stream_required",
    400,
    "The request must ask for a stream",
    "`on_disconnect: stop` is about the connection of the answer, and this request does not "
    "keep one.",
    "Send `Accept: text/event-stream`, or leave `on_disconnect` out.",
)
METHOD_NOT_ALLOWED: Final = ErrorCode(
    "method_not_allowed",
    405,
    "The route has no such method",
    "The route exists, but not with this method.",
    "Use a method in the header `Allow`.",
)
REQUEST_TIMEOUT: Final = ErrorCode(
    "request_timeout",
    408,
    "The body did not arrive in time",
    "The body was not complete within 30 seconds.",
    "Send the request again. If it happens often, look for a proxy or a network that loses "
    "packets.",
    "yes",
)
BODY_TOO_LARGE: Final = ErrorCode(
    "body_too_large",
    413,
    "The body is too large",
    "The body exceeds the limit that `detail` names: `publish.max_body_bytes` for publishing, "
    "and `generations.max_prompt_bytes` for requests to an LLM.",
    "Send less, or raise the setting.",
)
DATA_TOO_LARGE: Final = ErrorCode(
    "data_too_large",
    413,
    "The data of an event is too large",
    "`data` exceeds `publish.max_data_bytes`.",
    "Publish an id or a URL, and let the page load the rest. Or raise the setting.",
)
PROMPT_TOO_LARGE: Final = ErrorCode(
    "prompt_too_large",
    413,
    "The conversation is too large",
    "The messages exceed `generations.max_prompt_bytes`.",
    "Send fewer messages, send images by URL, or raise the setting.",
)
UNSUPPORTED_MEDIA_TYPE: Final = ErrorCode(
    "unsupported_media_type",
    415,
    "The content type is missing or not supported",
    "The header `Content-Type` is missing or is not one that this route reads. `curl -d` sends "
    "`application/x-www-form-urlencoded` by default.",
    "Send `Content-Type: application/json`. `POST /publish/batch` also reads "
    "`application/x-ndjson`.",
)
UNSUPPORTED_CONTENT_ENCODING: Final = ErrorCode(
    "unsupported_content_encoding",
    415,
    "The body has a compression that the hub does not read",
    "The header `Content-Encoding` has another value than `gzip`, `deflate` or `identity`, for "
    "example `br` or `zstd`.",
    "Send the body without compression, or with gzip.",
)
PRECONDITION_FAILED: Final = ErrorCode(
    "precondition_failed",
    412,
    "The condition of the request does not hold",
    "The request has `If-Match`, or it changes something and has `If-None-Match`. Only "
    "the files of pages have entity tags, so such a condition can never hold.",
    "Remove the header. To repeat a request safely, send an `Idempotency-Key`.",
)
RANGE_NOT_SATISFIABLE: Final = ErrorCode(
    "range_not_satisfiable",
    416,
    "The resource has no parts",
    "The request has a `Range` in bytes, for example of `curl -C -`. Streams and JSON are sent "
    "whole.",
    "Remove the header. To continue a stream, send `Last-Event-ID` or `?cursor=`.",
)
URL_TOO_LONG: Final = ErrorCode(
    "url_too_long",
    414,
    "The URL is too long",
    "The URL is longer than `public.max_header_bytes` or `internal.max_header_bytes` (8190). "
    "Usually a token or a cursor in the query is the reason.",
    "Send the token in `Authorization`, and the cursor in `Last-Event-ID`, or raise the setting.",
)
EXPECTATION_FAILED: Final = ErrorCode(
    "expectation_failed",
    417,
    "The header Expect is not supported",
    "The request has an `Expect` other than `100-continue`.",
    "Remove the header.",
)
WEBSOCKET_REQUIRED: Final = ErrorCode(
    "websocket_required",
    426,
    "The route requires WebSocket",
    "The request is not a WebSocket handshake. Usually a proxy does not pass on the headers "
    "`Upgrade` and `Connection`.",
    "Configure the proxy as [Proxies](../guides/proxies.md) shows, or use SSE.",
)

# Requests without a valid identity.

TOKEN_REQUIRED: Final = ErrorCode(
    "token_required",
    401,
    "The request has no token",
    "The hub found no user's token. `EventSource` cannot send headers, and browsers do not send "
    "a cookie of another site.",
    "Send `Authorization: Bearer <token>`, the cookie `hub_token`, or `?access_token=`. In a "
    "page, use [`hub.js`](../clients/javascript.md) with `getToken`.",
    "with a token",
)
TOKEN_EXPIRED: Final = ErrorCode(
    "token_expired",
    401,
    "The token has expired",
    "The time in `exp` has passed. If a new token has expired at once, a clock is wrong, or "
    "`exp` is in milliseconds.",
    "Get a new token from your backend. `hub.js` and the Python client do this by themselves if "
    "you pass a function instead of a token.",
    "with a new token",
)
TOKEN_INVALID: Final = ErrorCode(
    "token_invalid",
    401,
    "The token cannot be verified",
    "The signature fits no key of the hub, the hub has no key for the token's algorithm, `aud` "
    "or `iss` differs from the settings, or a required claim (`exp`, `sub`) is missing. "
    "`detail` says which, and names the algorithms that are accepted.",
    "Compare `auth.hmac_secret`, `auth.public_keys`, `auth.jwks_url`, `auth.audience` and "
    "`auth.issuer` with the application that signs: [401 with an Auth0 "
    "token](../guides/troubleshooting.md#401-with-an-auth0-token).",
    "with a correct token",
)
TOKEN_CLAIMS_INVALID: Final = ErrorCode(
    "token_claims_invalid",
    401,
    "A claim of the token is invalid",
    "The token is signed correctly, but the claim with the user is no user id, or `topics` is "
    "not a list.",
    'Correct the application that signs: `"sub": "alice"`, `"topics": ["news"]`.',
    "with a correct token",
)
TOKEN_REVOKED: Final = ErrorCode(
    "token_revoked",
    401,
    "The token has been revoked",
    "A backend revoked the token with `POST /revocations`.",
    "The user must log in again, so that the application issues a new token.",
    "with a new token",
)
TICKET_INVALID: Final = ErrorCode(
    "ticket_invalid",
    401,
    "The ticket cannot be used",
    "The ticket is older than 30 seconds, was used before, or does not exist.",
    "Create a ticket for each connection, just before you open it (`POST /tickets`).",
    "with a new ticket",
)
USER_NOT_RECOGNISED: Final = ErrorCode(
    "user_not_recognised",
    401,
    "The application does not know the user",
    "`auth.callback_url` answered 401.",
    "Check the session of the user in your application, and that the proxy passes its cookie on.",
    "after a login",
)
API_KEY_REQUIRED: Final = ErrorCode(
    "api_key_required",
    401,
    "The request has no API key",
    "Routes of the internal listener require an API key.",
    "Send `Authorization: Bearer <API key>`. The commands read it from `--key` or "
    "`HUB_CLIENT__KEY`.",
    "with an API key",
)
API_KEY_INVALID: Final = ErrorCode(
    "api_key_invalid",
    401,
    "The API key is wrong",
    "No entry of `auth.api_keys` has this key. Common reasons: a user's token instead of a key, "
    "a key of another environment, quotes or a line break inside the key.",
    "Compare the key with `auth.api_keys` of this node. `hub config` shows which keys exist.",
    "with a correct key",
)

# Requests that are not allowed.

USER_MISMATCH: Final = ErrorCode(
    "user_mismatch",
    403,
    "The token belongs to another user",
    "The path names another user than the token. Ids are compared exactly: `Alice` is not `alice`.",
    "Connect to `/sse/connect` without an id: the hub takes the user from the token.",
)
TOPIC_NOT_ALLOWED: Final = ErrorCode(
    "topic_not_allowed",
    403,
    "The token does not allow the topic",
    "The claim `topics` of the token has neither the topic nor a wildcard for it; to ask in a "
    "topic, it is the claim `ask_topics`.",
    'Add the topic to the claim: `"topics": ["news"]`, or `"topics": ["room:*"]`.',
)
INSUFFICIENT_SCOPE: Final = ErrorCode(
    "insufficient_scope",
    403,
    "The API key or token lacks a scope",
    "The key or token is valid, but it does not have the scope that `detail` names.",
    "Add the scope to the key in `auth.api_keys`, or to the claim `scope` of the token.",
)
GENERATION_FORBIDDEN: Final = ErrorCode(
    "generation_forbidden",
    403,
    "The answer belongs to another user",
    "Users can read and stop their own answers, and read those of the topics that they may follow. "
    "They can give a value to an answer of another user only if it names them as approvers.",
    "Use the token of the user who asked. Backends read answers on the internal listener.",
)
SCOPE_REQUIRED: Final = ErrorCode(
    "scope_required",
    403,
    "The token does not have the scope",
    "The claim `scope` of the token names `hub:stream` or `hub:ask`, and not the one that the "
    "request needs; or it names neither, and `auth.require_scope` is on.",
    "Issue a token with the scope that the sentence names. `hub:ask` is for starting and stopping "
    "answers and for `/v1`, `hub:stream` for everything else.",
)
USER_BLOCKED: Final = ErrorCode(
    "user_blocked",
    403,
    "The user is blocked for now",
    "Somebody called `DELETE /users/{id}/connections?block_seconds=`.",
    "Wait until the block ends.",
    "after the block",
)
ORIGIN_NOT_ALLOWED: Final = ErrorCode(
    "origin_not_allowed",
    403,
    "A page of another site may not do this",
    "The page and the hub have different origins, and a cookie or a WebSocket is accepted from "
    "known origins only. The browser may report a CORS error.",
    "Add the origin of the page to `public.allowed_origins`. Behind a proxy, pass the header "
    "`Host` on with its port (`$http_host` in nginx).",
)
PREFLIGHT_REQUIRED: Final = ErrorCode(
    "preflight_required",
    403,
    "A page of another site must send JSON",
    "A browser sends a form or text to another site without asking the hub first.",
    "Send `Content-Type: application/json`, and add the origin of the page to "
    "`public.allowed_origins`.",
)
LOCALHOST_ONLY: Final = ErrorCode(
    "localhost_only",
    403,
    "Without keys the hub accepts requests to localhost only",
    "`hub dev` and hubs with `auth.disabled` accept only requests that name `localhost` or a "
    "loopback address.",
    "Open `http://localhost:8080`. To serve other machines, configure tokens and API keys.",
)
ACCESS_REFUSED: Final = ErrorCode(
    "access_refused",
    403,
    "The application refuses access",
    "`auth.callback_url` answered 403.",
    "Check the permissions of the user in your application.",
)

# Resources that do not exist.

ROUTE_NOT_FOUND: Final = ErrorCode(
    "route_not_found",
    404,
    "There is no such route",
    "The path is wrong, or the route is on the other listener: routes for backends, such as "
    "`POST /publish`, are on the internal listener only (8081 by default).",
    "Check path and port. [HTTP](http.md) lists the routes of both listeners.",
)
GENERATION_NOT_FOUND: Final = ErrorCode(
    "generation_not_found",
    404,
    "There is no such answer",
    "The id is wrong, or the answer is no longer stored: `generations.ttl_seconds` (an hour) "
    "after its last change.",
    "Store finished answers in your application, or raise the setting.",
)
INPUT_UNKNOWN: Final = ErrorCode(
    "input_unknown",
    404,
    "The answer has not asked for this input",
    "The key in the path is not that of a `generation.input_requested` of the answer.",
    "Send the key as the event has it in `input`, percent-encoded.",
)
PUSH_NOT_CONFIGURED: Final = ErrorCode(
    "push_not_configured",
    404,
    "The hub sends no push notifications",
    "The settings have no keys for push notifications.",
    "Make keys with `hub keys vapid`, and put them into the table `[push]` of the settings of all "
    "nodes and workers: [Push notifications](../guides/push.md).",
)
PUSH_SUBSCRIPTION_NOT_FOUND: Final = ErrorCode(
    "push_subscription_not_found",
    404,
    "There is no such push subscription",
    "The id is wrong, the subscription has expired, or it belongs to another user by now.",
    "Nothing needs to be removed. `POST /push/subscriptions` adds the device again.",
)
RESPONSE_NOT_FOUND: Final = ErrorCode(
    "response_not_found",
    404,
    "There is no such response",
    "`/v1/responses/{id}` names an answer that does not exist or is no longer stored.",
    "Use the `id` of a response that is not older than `generations.ttl_seconds`.",
)
PREVIOUS_RESPONSE_NOT_FOUND: Final = ErrorCode(
    "previous_response_not_found",
    400,
    "The earlier response is gone",
    "`previous_response_id`, or an `item_reference` in the input, names an answer of this user "
    "that does not exist, is no longer stored, or has `store: false`.",
    "Send the whole conversation as `input`, as SDKs do without `previous_response_id` and with "
    "`store: false`, or raise `generations.ttl_seconds`.",
)
RESPONSE_NOT_FINISHED: Final = ErrorCode(
    "response_not_finished",
    409,
    "The earlier response has not ended",
    "`previous_response_id`, or an `item_reference` in the input, names an answer that the LLM is "
    "still writing.",
    "Wait for its end, or cancel it, before you continue the conversation.",
    "after the end of the earlier answer",
)
ANSWERS_NOT_ENDED: Final = ErrorCode(
    "answers_not_ended",
    409,
    "Answers of this user have not ended",
    "`DELETE /users/{id}/data` stops the answers of the user first, and some of them did not end.",
    "Send the request again. If users of the application can still ask, block the user first.",
    "at once",
)
WEBHOOK_NOT_FOUND: Final = ErrorCode(
    "webhook_not_found",
    404,
    "There is no such webhook",
    "The id in the path is not that of a webhook of the settings or of the API, or it was deleted.",
    "`GET /webhooks` and `hub webhooks list` show the ids.",
)
DELIVERY_NOT_FOUND: Final = ErrorCode(
    "delivery_not_found",
    404,
    "There is no such delivery",
    "The delivery was received, has expired, or never existed. Only a dead letter can be replayed.",
    "`hub webhooks dead` shows the dead letters.",
)
MODEL_NOT_FOUND: Final = ErrorCode(
    "model_not_found",
    404,
    "There is no such model",
    "`/v1/models/{model}` names a model that the hub does not list.",
    "Use a name from `GET /v1/models`.",
)
FILE_NOT_FOUND: Final = ErrorCode(
    "file_not_found",
    404,
    "There is no such file",
    "The demo page and the console load their files by name, and this one does not exist.",
    "Reload the page. After an update an old page can name files that are gone.",
)

# Conflicts with the state.

CONFLICT: Final = ErrorCode(
    "conflict",
    409,
    "The state does not allow the request",
    "Something else has changed the resource first. `detail` says what.",
    "Read the current state, and decide again.",
)
WEBHOOK_IN_SETTINGS: Final = ErrorCode(
    "webhook_in_settings",
    409,
    "The webhook belongs to the settings",
    "`DELETE /webhooks/{id}` names a webhook of `[[webhooks]]`.",
    "Remove it from the settings, and restart nodes and workers.",
)
TOO_MANY_WEBHOOKS: Final = ErrorCode(
    "too_many_webhooks",
    409,
    "There are too many webhooks",
    "The API may create 100 webhooks.",
    "Delete one that is not used, or let one endpoint get the events for several receivers.",
)
IDEMPOTENCY_KEY_REUSED: Final = ErrorCode(
    "idempotency_key_reused",
    409,
    "The idempotency key belongs to another request",
    "The same `id` or `Idempotency-Key` came with another event or another question before. The "
    "hub has kept the first one and ignored this one. An event for several recipients may have "
    "reached those for whom the key is new.",
    "Use a new key for each event and question. Use the same key only to repeat a request.",
)
CHAT_BUSY: Final = ErrorCode(
    "chat_busy",
    409,
    "The chat has an answer that has not ended",
    "The request has `on_busy: reject`, and an answer of its `chat` is queued, running or "
    "stopping; or it has `interrupt` or `steer`, and that answer is another user's. The problem's "
    "`generation` is its id. Nothing was started.",
    "Wait for the end of that answer, stop it with `DELETE /generations/{id}`, or ask with "
    "`on_busy: enqueue` or `interrupt`.",
)
NOT_STEERABLE: Final = ErrorCode(
    "not_steerable",
    409,
    "The answer takes no messages while it runs",
    "An LLM endpoint gives the answer, and nobody can tell it anything before its end. Only "
    "functions and external producers take messages. The problem's `generation` is its id. Nothing "
    "was started or sent.",
    "Ask again after its end, or with `on_busy: enqueue` or `interrupt`.",
)
STEERING_FULL: Final = ErrorCode(
    "steering_full",
    409,
    "The answer takes no more messages",
    "The answer has as many messages, or as many bytes of them, as one may have while it runs; "
    "`detail` names both limits. The problem's `generation` is its id. Nothing was sent.",
    "Ask again after its end, or with `on_busy: enqueue` or `interrupt`.",
)
ENDED: Final = ErrorCode(
    "ended",
    409,
    "The answer has ended",
    "An external producer began, or posted to, an answer that has ended: it was stopped, its end "
    "was posted, or it became too large. Or a user sent a message or a value to one that has ended "
    "or is about to stop. The problem's `generation` is its id.",
    "Read the answer with `GET /generations/{id}`. Use a new `id` for another answer.",
)
INPUT_ANSWERED: Final = ErrorCode(
    "input_answered",
    409,
    "Another value counts",
    "The input has a value, because somebody was faster: another tab, another device, or an "
    "approver. The problem's `value` is the one that counts, and `by` the user who has given it.",
    "Show that value. It cannot be changed.",
)
INPUT_EXPIRED: Final = ErrorCode(
    "input_expired",
    409,
    "The time for this value is over",
    "Nobody had given the value by `expires_at`.",
    "Read the answer with `GET /generations/{id}`: it has gone on without the value, or has "
    "failed.",
)
LEASE_LOST: Final = ErrorCode(
    "lease_lost",
    409,
    "The lease is void",
    "Nothing was posted for `lease_seconds`, the job was returned, or another attempt has begun "
    "with the same `id`. The hub publishes nothing more under this lease.",
    "Discard the work on this attempt. To go on, claim again, or repeat `POST /generations` with "
    "the same `id`. [External producers](../guides/external-producers.md) describes leases.",
)
SEQUENCE_GAP: Final = ErrorCode(
    "sequence_gap",
    409,
    "A part is missing before this one",
    "`seq` counts the parts of an attempt from 0 without a gap, and the hub does not have the "
    "part before this one. The problem's `expected` is the number that it needs next. Redis may "
    "also have lost the newest parts in a fail-over. An `end` with the number of a published part "
    "gets this answer as well.",
    "Post the parts from `expected` on again.",
)
NOT_RESTARTABLE: Final = ErrorCode(
    "not_restartable",
    409,
    "The hub cannot restart this answer",
    "The application posted the answer itself, so the hub knows nobody whom it could ask again.",
    "Let the application begin another answer.",
)
GENERATION_STOPPED: Final = ErrorCode(
    "generation_stopped",
    409,
    "The answer was stopped",
    "A user stopped the answer that the client waits for. APIs that have no word for this "
    "report an error, so that half an answer does not look like a whole one.",
    "Show the text so far. Ask again only if the user wants it.",
    "if the user asks for it",
)
ANSWER_REWRITTEN: Final = ErrorCode(
    "answer_rewritten",
    409,
    "The answer differs from what was sent",
    "The answer was generated again, and the format of the client cannot take back text that "
    "differs, or a tool call.",
    "Request the complete answer, for example with `GET /v1/responses/{id}`.",
    "by reading the answer",
)

# Limits.

RATE_LIMITED: Final = ErrorCode(
    "rate_limited",
    429,
    "Too many requests",
    "A limit per second is reached, for example `publish.max_per_second` of an API key. The hub "
    "has done nothing.",
    "Wait for the seconds in `Retry-After`. Use `POST /publish/batch` for many events.",
    "after `Retry-After`",
)
STORAGE_BUDGET_EXCEEDED: Final = ErrorCode(
    "storage_budget_exceeded",
    429,
    "The user has stored too much",
    "The prompts and tickets of this user in the last `generations.ttl_seconds` would exceed "
    "`generations.max_stored_bytes_per_user`.",
    "Send shorter conversations, or raise the setting if Redis has the memory.",
    "after `Retry-After`",
)
TOO_MANY_NEW_TOPICS: Final = ErrorCode(
    "too_many_new_topics",
    429,
    "The user follows too many new topics",
    "The user has followed `stream.max_new_topics_per_minute` topics in this minute that were not "
    "followed before. Reconnecting with the same topics does not count.",
    "Follow one topic that several things share, or raise the setting.",
    "after `Retry-After`",
)
TOO_MANY_CONNECTIONS: Final = ErrorCode(
    "too_many_connections",
    429,
    "Too many streams from one address",
    "The address has `stream.max_per_address` streams. If all users have the address of your "
    "proxy, the hub does not know the proxy.",
    "Set `public.trusted_proxies` to the addresses of the proxy, or raise the limit.",
    "after `Retry-After`",
)
TOO_MANY_MESSAGES: Final = ErrorCode(
    "too_many_messages",
    429,
    "Too many messages at once",
    "A client sent more than 16 messages over WebSocket or gRPC without waiting for the replies, "
    "or for the responses of `/v1/responses`.",
    "Wait for the reply to a message before you send many more.",
    "after `Retry-After`",
)
TOO_MANY_CLAIMS: Final = ErrorCode(
    "too_many_claims",
    429,
    "Too many claims of jobs wait on a node",
    "The node has `producers.max_waiting_claims` claims that wait for jobs, or the API key has "
    "`producers.max_waiting_claims_per_key` of them.",
    "Claim several jobs with one claim (`max`), or raise the setting.",
    "after `Retry-After`",
)
TOO_MANY_GENERATIONS: Final = ErrorCode(
    "too_many_generations",
    429,
    "Too many answers of a user are queued",
    "The user has `generations.max_queued_per_user` answers in the queue.",
    "Wait for answers to end. If they stay queued, check that `hub worker` runs.",
    "after `Retry-After`",
)
UPSTREAM_QUEUE_FULL: Final = ErrorCode(
    "upstream_queue_full",
    429,
    "Too many answers of an upstream are queued",
    "The queue of the upstream has `max_queued` answers.",
    "Start more workers, raise `max_running` of the upstream, or let users wait.",
    "after `Retry-After`",
)
HEADER_TOO_LARGE: Final = ErrorCode(
    "header_too_large",
    431,
    "A header of the request is too large",
    "A header is larger than `public.max_header_bytes` or `internal.max_header_bytes` (8190): a "
    "token with many claims, or the cookies of other applications of the site.",
    "Issue a smaller token, delete cookies, or raise the setting. A proxy has such a limit, too.",
)

# Something is unavailable.

INTERNAL_ERROR: Final = ErrorCode(
    "internal_error",
    500,
    "The hub has an error",
    "The hub could not handle the request. The log of the node has the details (`request.failed`).",
    "Please report it with the log.",
)
BROKER_UNAVAILABLE: Final = ErrorCode(
    "broker_unavailable",
    503,
    "Redis or Valkey does not answer",
    "The node cannot reach the broker, or the broker refuses commands.",
    "Run `hub doctor` on the machine of the node. Repeat a publish with the same `id`: then it "
    "arrives once.",
    "after `Retry-After`",
)
BROKER_OUT_OF_MEMORY: Final = ErrorCode(
    "broker_out_of_memory",
    503,
    "The memory of Redis or Valkey is full",
    "Redis or Valkey uses as much memory as `maxmemory` allows, so it stores nothing new and "
    "refuses publishes and new answers. Clients stay connected and can read what is stored, and "
    "answers that run are ended.",
    "Raise `maxmemory`, or store less: `log.user`, `log.topic`, `log.all` and "
    "`generations.ttl_seconds`. `hub doctor` shows how much memory is in use.",
    "after `Retry-After`",
)
BROKER_REFUSES_WRITES: Final = ErrorCode(
    "broker_refuses_writes",
    503,
    "Redis or Valkey refuses writes",
    "Redis or Valkey answers, but refuses writes: it cannot write to its disk "
    "(`stop-writes-on-bgsave-error`), or has fewer replicas than `min-replicas-to-write`.",
    "Run `hub doctor`, and read the log of the server.",
    "after `Retry-After`",
)
NODE_DRAINING: Final = ErrorCode(
    "node_draining",
    503,
    "The node shuts down",
    "The node drains before it stops, for example during an update.",
    "Repeat the request: the load balancer sends it to another node.",
    "after `Retry-After`",
)
NODE_FULL: Final = ErrorCode(
    "node_full",
    503,
    "The node has reached its limit of streams",
    "The node has `stream.max_connections` streams.",
    "Add a node or a process, or raise the limit.",
    "after `Retry-After`",
)
CALLBACK_UNAVAILABLE: Final = ErrorCode(
    "callback_unavailable",
    503,
    "The application could not authenticate the user",
    "`auth.callback_url` did not answer in time, answered with another status than 200, 401 or "
    "403, or sent an invalid response.",
    "Look for `callback` in the log of the node, and check the route of your application.",
    "after `Retry-After`",
)

KEY_SET_UNAVAILABLE: Final = ErrorCode(
    "key_set_unavailable",
    503,
    "The keys of the identity provider cannot be fetched",
    "The node cannot fetch the key set of `auth.jwks_url` or of an issuer, and does not know the "
    "key of the token yet. Tokens whose key is known are accepted.",
    "Look for `jwks.fetch_failed` in the log of the node, and check the address from that machine.",
    "after `Retry-After`",
)
GENERATION_STILL_RUNNING: Final = ErrorCode(
    "generation_still_running",
    503,
    "The hub closed the request, and the answer continues",
    "A client waited for a whole answer, and the node had to close the request before its end.",
    "Read the answer with `GET /generations/{id}`. The same request again would start another "
    "answer.",
    "by reading the answer",
)

# Answers that fail.

UPSTREAM_UNREACHABLE: Final = ErrorCode(
    "upstream_unreachable",
    502,
    "The worker cannot connect to the LLM",
    "The name cannot be resolved, nothing listens at the address, or the TLS handshake fails. "
    "In a container, `localhost` is the container itself.",
    "Request `base_url` from the machine of the worker with `curl`. Behind a company's proxy "
    "set `proxy`; for a certificate of your own CA set `SSL_CERT_FILE`.",
    "yes",
)
UPSTREAM_TIMEOUT: Final = ErrorCode(
    "upstream_timeout",
    504,
    "The LLM did not answer in time",
    "A limit of the upstream was reached: `connect_seconds` (10), `first_byte_seconds` (120), "
    "`idle_seconds` (120, between two chunks) or `total_seconds` (off).",
    "Raise the limit for slow models: `first_byte_seconds` before the first token, "
    "`idle_seconds` for pauses, for example during a tool call.",
    "yes",
)
UPSTREAM_STATUS: Final = ErrorCode(
    "upstream_status",
    502,
    "The LLM answered with an error status",
    "The field `upstream_status` has the status, and `message` the text of the LLM. 401 and "
    "403: the API key is missing or wrong on the **worker**. 404: wrong path in `base_url` "
    "(often `/v1` is missing) or unknown model. 400, 413 and 422: the model rejects the "
    "request. 429: the quota of your account is used up. 301 to 308: `base_url` is not the "
    "final address.",
    "Run `hub doctor` on the machine of the worker: it tests the address, the key and the model. "
    "Correct `base_url`, `api_key` or the request. For 429 lower `max_running`, or add "
    "`fallbacks`.",
    "for 408, 429 and all of 5xx except 501 and 505",
)
UPSTREAM_PROTOCOL: Final = ErrorCode(
    "upstream_protocol",
    502,
    "The response of the LLM is not an answer in the expected format",
    "The response is an HTML page, a line of text, another API, or not valid HTTP. The message "
    "quotes its first characters. The hub judges a response by its first bytes, not by its "
    "content type. An invalid `base_url` and an `api_key` with a line break have the same code.",
    "Compare what the message quotes, `kind` and `base_url` with the server. If the message is "
    '"the upstream\'s response could not be read", look for `upstream.adapter_failed` in the log '
    "of the worker and report it.",
)
UPSTREAM_ERROR: Final = ErrorCode(
    "upstream_error",
    502,
    "The LLM reported an error inside its stream",
    "`message` has the text of the LLM, with keys masked. Often it is an overload or a content "
    'filter. For an agent (`kind = "a2a"`) `upstream_code` has the state of its task, such as '
    "`failed` or `rejected`.",
    "Follow the text of the LLM.",
    "yes, unless the error has a status such as 400 or 401 in `code` or `status`, or an agent "
    "rejected the task",
)
UPSTREAM_TRUNCATED: Final = ErrorCode(
    "upstream_truncated",
    502,
    "The stream of the LLM ended too early",
    "The connection was closed before the LLM reported that the answer is complete. The text so "
    "far stays readable. If the hub could read nothing of the response, the message quotes its "
    "first characters.",
    "If it happens after a fixed time, a proxy between worker and LLM has a timeout. If it "
    'always happens at the end, the server sends no end marker: for `kind = "envelope"` set '
    "`end_of_stream`.",
    "yes",
)
UPSTREAM_TOO_LARGE: Final = ErrorCode(
    "upstream_too_large",
    502,
    "The LLM sent too much at once",
    "One event of the LLM exceeds `max_event_bytes` of the upstream (1 MiB), or the answer has "
    "more than 1000 tool calls.",
    'Limit the answer with `"params": {"max_tokens": 2000}`, or raise the setting that '
    "`message` names.",
)
ANSWER_TOO_LARGE: Final = ErrorCode(
    "answer_too_large",
    502,
    "The answer is too large",
    "The answer with all its parts exceeds `generations.max_record_bytes` (2 MiB), or one part "
    "that is no text, reasoning or tool call exceeds `generations.max_part_bytes` (64 KiB). What "
    "came before stays readable.",
    'Limit the answer with `"params": {"max_tokens": 2000}`, publish a large file by its URL, or '
    "raise the setting that `message` names.",
)
UPSTREAM_UNKNOWN: Final = ErrorCode(
    "upstream_unknown",
    502,
    "The worker has no such upstream",
    "The node accepted the name of the upstream, and the worker does not have it.",
    "Give nodes and workers the same `[upstreams]`. If workers have different upstreams, set "
    "`queue` of the upstream, and start the workers that have it with `--queues`. A worker without "
    "any upstream logs `worker.no_upstreams` at its start.",
)
UPSTREAM_UNSUPPORTED: Final = ErrorCode(
    "upstream_unsupported",
    400,
    "The format of the upstream cannot express the request",
    "For example, several answers (`n`), or an image over an API without images. No request was "
    "sent to the LLM.",
    "Leave out what `message` names, or select another upstream. [Connect an "
    "LLM](../guides/upstreams.md) lists what each format supports.",
)
UPSTREAM_INTERRUPTED: Final = ErrorCode(
    "upstream_interrupted",
    502,
    "The agent asks for a decision",
    "The agent asks for something that the answer cannot wait for: a decision, when `run.ask` of a "
    "function asked it (an interrupt of AG-UI, a tool approval of the AI SDK), or an authorisation "
    "(A2A). `message` has the agent's words.",
    "Let users ask the agent itself, or let it go on without a decision. [Connect an "
    "LLM](../guides/upstreams.md) says how an answer waits.",
)
UPSTREAM_CIRCUIT_OPEN: Final = ErrorCode(
    "upstream_circuit_open",
    503,
    "The hub pauses the upstream after failures",
    "The upstream failed `circuit_failure_threshold` times in a row (5), and the worker does "
    "not call it for `circuit_open_seconds` (30).",
    "Look for the earlier failures: `upstream.failed` in the log of the worker has their codes, "
    "statuses and messages. Set `fallbacks`, so that another upstream answers meanwhile.",
    "after `circuit_open_seconds`",
)
TOO_MANY_ATTEMPTS: Final = ErrorCode(
    "too_many_attempts",
    502,
    "No worker finished the answer",
    "`generations.max_attempts` workers (3) in a row began the answer, and all of them ended or "
    "lost Redis before they stored a point from which it continues.",
    "Look for restarts of workers: out of memory, or `worker.drain_seconds` shorter than an "
    "answer.",
    "yes",
)
QUEUE_TIMEOUT: Final = ErrorCode(
    "queue_timeout",
    503,
    "No worker was free in time",
    "The request waited for `generations.max_queued_seconds` (600) in its queue.",
    "Check that `hub worker` runs and serves the queue of the upstream. Start more workers, or "
    "raise `worker.concurrency` and `max_running` of the upstream.",
    "yes, later",
)
PRODUCER_ERROR: Final = ErrorCode(
    "producer_error",
    502,
    "The application's function failed",
    "The function that produces the answer raised an exception, or yielded something that is no "
    "part. `hub dev` shows the exception in `message`; other workers do not, because it can "
    "contain secrets.",
    "Look for `producer.failed` in the log of the worker: it has the exception. Raise `Failed` in "
    "the function for an error that the client may see.",
)
PRODUCER_TIMEOUT: Final = ErrorCode(
    "producer_timeout",
    504,
    "The application's function took too long",
    "The function ran for longer than its `timeout_seconds`, or than `total_seconds` of its "
    "upstream.",
    "Raise the limit, or let the function do less. [Your own code as the "
    "answer](../guides/functions.md) describes both settings.",
)
INPUT_TIMEOUT: Final = ErrorCode(
    "input_timeout",
    504,
    "Nobody gave a value in time",
    "The application asked for a value (`generation.input_requested`), nobody gave it by "
    "`expires_at`, and the function does not go on without it. Or an agent asked, and its upstream "
    "waits for `input_timeout_seconds`.",
    "Ask again. Give people more time with `timeout_seconds` or `input_timeout_seconds`, or name "
    "`approvers`. [Your own code as the answer](../guides/functions.md) and [Connect an "
    "LLM](../guides/upstreams.md) describe them.",
    "if somebody can answer",
)
TOO_MANY_WAITING: Final = ErrorCode(
    "too_many_waiting",
    429,
    "Too many answers of the user wait for a value",
    "The function suspended the answer, and the user has `generations.max_waiting_per_user` (100) "
    "suspended answers already, in the own channel or in the topic.",
    "Answer or stop some of them, or raise the setting.",
    "when some have ended",
)
PRODUCER_LOST: Final = ErrorCode(
    "producer_lost",
    502,
    "The process that produced the answer was lost",
    "The worker or its child process ended while the function ran: a crash, no memory, a function "
    "that blocked its process for `producers.block_limit_seconds` (30), or a worker that was "
    "stopped before the answer had ended. Or an external producer posted nothing for "
    "`lease_seconds`. The answer is not produced again, because the `retries` (0) of the upstream "
    "do not allow it.",
    "Look for `producer.process_lost` in the log of the worker, or for what ended your own "
    "process. Set `retries` if the work may be repeated, and `worker.drain_seconds` longer than "
    "an answer.",
    "yes",
)

GUARD_FAILED: Final = ErrorCode(
    "guard_failed",
    502,
    "The answer could not be checked",
    "The guard of the upstream raised an exception, answered with an error or with something that "
    "is no verdict, or did not answer within `max_wait_seconds`, and its `on_error` is `end`. The "
    "text that was not checked is not shown.",
    "Look for `guard.failed` in the log of the worker. [Check answers before they are "
    "shown](../guides/guards.md) describes the settings.",
    "yes",
)
GENERATION_LOST: Final = ErrorCode(
    "generation_lost",
    503,
    "Redis lost the answer before it had ended",
    "The record of the answer vanished while its job was queued or while a worker had it: Redis "
    "lost data in a fail-over or a restart, somebody deleted keys, or the server evicts keys "
    "(`maxmemory-policy`).",
    "Ask again. Let `hub doctor` check the persistence, the replicas and the memory of Redis.",
    "yes",
)

ERROR_CODES: Final = {
    value.name: value for value in tuple(globals().values()) if isinstance(value, ErrorCode)
}
"""All codes by their names, in the order of this module."""

FAILURE_CODES: Final = {
    code.name: code
    for code in (
        UPSTREAM_UNREACHABLE,
        UPSTREAM_TIMEOUT,
        UPSTREAM_STATUS,
        UPSTREAM_PROTOCOL,
        UPSTREAM_ERROR,
        UPSTREAM_TRUNCATED,
        UPSTREAM_TOO_LARGE,
        ANSWER_TOO_LARGE,
        UPSTREAM_UNKNOWN,
        UPSTREAM_UNSUPPORTED,
        UPSTREAM_INTERRUPTED,
        UPSTREAM_CIRCUIT_OPEN,
        TOO_MANY_ATTEMPTS,
        QUEUE_TIMEOUT,
        PRODUCER_ERROR,
        PRODUCER_TIMEOUT,
        INPUT_TIMEOUT,
        TOO_MANY_WAITING,
        PRODUCER_LOST,
        GUARD_FAILED,
        GENERATION_LOST,
    )
}
"""The codes of `generation.failed`."""

_BY_STATUS: Final = {
    404: ROUTE_NOT_FOUND,
    405: METHOD_NOT_ALLOWED,
    408: REQUEST_TIMEOUT,
    409: CONFLICT,
    412: PRECONDITION_FAILED,
    413: BODY_TOO_LARGE,
    414: URL_TOO_LONG,
    415: UNSUPPORTED_MEDIA_TYPE,
    416: RANGE_NOT_SATISFIABLE,
    417: EXPECTATION_FAILED,
    431: HEADER_TOO_LARGE,
    429: RATE_LIMITED,
}


def code_for_status(status: int) -> ErrorCode:
    """Return the code of an error that is known by its HTTP status only."""
    return _BY_STATUS.get(status, INVALID_REQUEST if status < 500 else INTERNAL_ERROR)
