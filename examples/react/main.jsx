import { connect } from "@ssehub/client";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Answer } from "./Answer.jsx";
import { Inbox } from "./Inbox.jsx";
import { useHubState, useNotifications } from "./useHub.js";

const user = new URLSearchParams(location.search).get("user") ?? "alice";
// Only hub dev accepts a user without a token. In production pass getToken instead.
const hub = connect({ url: "http://127.0.0.1:8080", user });

function App() {
  const { state } = useHubState(hub);
  const notifications = useNotifications(hub);
  return (
    <>
      <h1>An answer in React</h1>
      <p>Connection: <span role="status">{state}</span></p>
      <Answer hub={hub} storageKey={`answer of ${user}`} />
      <Inbox hub={hub} />
      <section aria-labelledby="notifications-title">
        <h2 id="notifications-title">Notifications</h2>
        <ul aria-live="polite">
          {notifications.map((data, index) => (
            <li key={notifications.length - index}>{data?.title ?? JSON.stringify(data)}</li>
          ))}
        </ul>
      </section>
    </>
  );
}

createRoot(document.getElementById("app")).render(<StrictMode><App /></StrictMode>);
