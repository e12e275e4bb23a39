// Errors as sentences for people. The hub's own sentence follows the code in small print.

const SENTENCES = {
  upstream_unreachable: "The model cannot be reached at the moment.",
  upstream_timeout: "The model did not answer in time.",
  upstream_status: "The model refused the request.",
  upstream_truncated: "The model stopped in the middle of its answer.",
  upstream_circuit_open: "The model fails often, so the hub waits a moment before it asks again.",
  upstream_interrupted: "The connection to the model broke.",
  answer_too_large: "The answer became too large.",
  producer_lost: "The program that answers was lost too often.",
  generation_lost: "The answer was lost.",
  not_stored: "The hub no longer stores this answer.",
  not_steerable: "This answer takes no messages while it runs. Send it as a question instead.",
  chat_busy: "Another answer of this chat has not ended yet.",
};

// Returns the sentence for the end of a failed answer.
export function failureText({ code, message }) {
  return SENTENCES[code] ? `${SENTENCES[code]} (${code})` : `${message} (${code})`;
}

// Returns the sentence for a request that the hub refused, or that did not reach it.
export function requestErrorText({ message, code, status, retryAfterSeconds }) {
  const sentence = SENTENCES[code] ?? (status === 0 ? "The hub cannot be reached. Is it running?" : message);
  return retryAfterSeconds ? `${sentence.replace(/[^.!?]$/, "$&.")} Try again in ${retryAfterSeconds} s.` : sentence;
}
