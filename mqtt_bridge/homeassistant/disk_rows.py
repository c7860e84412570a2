"""The entities of physical disks and of ZFS pools."""

from mqtt_bridge.homeassistant.entity import DATA, PERCENT, Entity, calm, get

_WEARS = frozenset({"nvme", "ssd"})
_SMART = f"{{{{ {{'PASSED': 'OFF', 'FAILED': 'ON'}}.get({DATA}.get('health')) }}}}"
_ABOUT = (
    f"{{% set v={DATA} %}}"
    "{{ {'device': v.get('dev'), 'node': v.get('node'), 'used_by': v.get('used_by')}|tojson }}"
)

DISK_ROWS: tuple[Entity, ...] = (
    Entity("smart", "binary_sensor", "SMART problem", _SMART, device_class="problem", attributes=_ABOUT),
    Entity("temperature", "sensor", "Temperature", calm("temperature_c", jump=5), device_class="temperature", unit="°C",
           state_class="measurement", precision=0),
    Entity("wear", "sensor", "Wear", get("wear_pct"), unit=PERCENT, state_class="measurement", precision=0,
           icon="mdi:battery-clock-outline", category="diagnostic", variants=_WEARS),
    Entity("power_on", "sensor", "Powered on", get("power_on_hours"), device_class="duration", unit="h",
           state_class="total_increasing", precision=0, category="diagnostic", enabled=False),
)  # fmt: skip

_UNWELL = (
    f"{{% set v={DATA} %}}{{{{ none if not v else 'ON' if v.get('health')!='ONLINE' or v.get('errors') else 'OFF' }}}}"
)
_WHAT = (
    f"{{% set v={DATA} %}}{{{{ {{'health': v.get('health'), 'status': v.get('status'), 'errors': v.get('errors'),"
    " 'scan': v.get('scan'), 'node': v.get('node')}|tojson }}"
)

ZPOOL_ROWS: tuple[Entity, ...] = (
    Entity("problem", "binary_sensor", "Problem", _UNWELL, device_class="problem", attributes=_WHAT),
    Entity("health", "sensor", "Health", get("health"), icon="mdi:database-check-outline", category="diagnostic",
           enabled=False),
    Entity("used", "sensor", "Used", calm("used_pct", move=0.5, jump=10), unit=PERCENT, precision=1,
           state_class="measurement", icon="mdi:database", category="diagnostic", enabled=False),
    Entity("fragmentation", "sensor", "Fragmentation", get("fragmentation_pct"), unit=PERCENT, precision=0,
           state_class="measurement", icon="mdi:chart-scatter-plot", category="diagnostic", enabled=False),
)  # fmt: skip
