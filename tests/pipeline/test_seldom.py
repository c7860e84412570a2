from mqtt_bridge.seldom import KEPT, Seldom


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_once_a_minute_with_what_came_meanwhile() -> None:
    clock = Clock()
    seldom = Seldom(60, clock=clock)
    assert [seldom.count("a") for _ in range(4)] == [1, 0, 0, 0]
    assert seldom.count("b") == 1
    clock.now += 60
    assert seldom.count("a") == 4
    assert seldom.count("a") == 0


def test_many_causes_make_few_lines_and_are_forgotten() -> None:
    clock = Clock()
    seldom = Seldom(60, lines=10, clock=clock)
    assert sum(seldom.count(number) for number in range(KEPT * 3)) == 10
    assert len(seldom._seen) == KEPT
    clock.now += 60
    assert seldom.count("new") == 1
