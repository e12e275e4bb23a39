"""The inbox of each user: what is kept for those who are not connected, on every device the same.

inboxes    a user's items, own and of topics, and their counts
requests   bodies, parameters and responses of the routes
routes     the routes of users, on the public listener
internal   the same for backends, on the internal listener
"""
