"""Home Assistant's MQTT discovery: devices and entities from tables, events, and what only Home Assistant shows.

`entity.py` is the shape of a row; `guest_rows.py`, `node_rows.py` and `other_rows.py` are the tables; `payload.py`
makes a device's configuration of them, `discovery.py` keeps the broker in step, `happenings.py` and `upkeep.py` feed
the rest.
"""
