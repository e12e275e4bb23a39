"""Webhooks: signed requests that tell an application's backend what has happened.

endpoints   the endpoints of the settings and of the API, as this process knows them
events      the deliveries of events, written in the same step as the event
sender      one attempt of a delivery, and the pause of an endpoint that keeps failing
routes      the internal API
"""
