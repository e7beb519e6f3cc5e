"""Maps of the gridworld's tasks, and the shortest path from every cell where an episode begins."""

import collections
from typing import NamedTuple

import numpy as np

from jaxecon.suggest import unknown_name

# "#" wall, "." free, "G" goal, "K" key, "D" door; an outer wall surrounds every map.
MAPS: dict[str, tuple[str, ...]] = {
    "maze": (".....", "####.", ".....", ".####", "....G"),
    "x_island_1": (".....", ".#.#.", "..#..", ".#.#.", "....G"),
    "x_island_2": (".....", ".#.#.", "..#..", ".#G#.", "....."),
    "key_door_1": ("K#.", ".D.", ".#G"),
    "key_door_2": ("K#G", ".#.", ".D."),
}
SIZE = 7  # rows and columns with the outer wall; smaller maps are filled up with wall
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
NOWHERE = (-9, -9)  # of a key or door that the map does not have

# (row, column, whether the key was taken, whether the door is open)
Node = tuple[int, int, bool, bool]


class Layout(NamedTuple):
    """A map as arrays; rows and columns count from the outer wall."""

    wall: np.ndarray  # [S, S] bool
    goal: np.ndarray  # [2] int32 row and column
    key: np.ndarray  # [2] int32, NOWHERE if none
    door: np.ndarray  # [2] int32, NOWHERE if none
    start: np.ndarray  # [S, S] bool where an episode may begin
    distance: np.ndarray  # [S, S] float32 fewest actions from there to the goal, 0 elsewhere


def make_layout(rows: tuple[str, ...]) -> Layout:
    """Arrays of a map.

    Episodes begin in any free cell; where there is a door, in any free cell that can be reached
    without opening it, as the key must be.

    Args:
      rows: at most 5 strings of at most 5 characters each, see `MAPS`.

    Raises:
      ValueError: the map is too large, has an unknown character, not exactly one goal, a key
        without a door or a door without a key, no free cell to start from, or a cell from which
        the goal cannot be reached.
    """
    _check_characters(rows)
    cells = np.full((SIZE, SIZE), "#")
    for i, row in enumerate(rows):
        cells[i + 1, 1 : len(row) + 1] = list(row)
    places = {mark: _place(cells, mark) for mark in "GKD"}
    bare = Layout(cells == "#", places["G"], places["K"], places["D"], cells == ".", np.zeros(0))
    lengths = {node: steps for node, steps in _steps_to_goal(bare).items() if node[2:] == (0, 0)}
    reachable = _same_side(bare) if "D" in cells else cells == "."
    if not reachable.any():
        raise ValueError(f"The map must have a free cell to start from, got {tuple(rows)!r}.")
    distance = np.zeros((SIZE, SIZE), np.float32)
    for row, column in np.argwhere(reachable):
        if (row, column, False, False) not in lengths:
            raise ValueError(
                f"The goal must be reachable from every start; from row {row}, column {column} "
                "it is not. Remove a wall, or fill the cell."
            )
        distance[row, column] = lengths[row, column, False, False]
    return bare._replace(start=reachable, distance=distance)


def named_layout(task: str) -> Layout:
    """Layout of a task in `MAPS`; ValueError names the nearest tasks."""
    if task not in MAPS:
        raise ValueError(unknown_name("gridworld task", task, MAPS))
    return make_layout(MAPS[task])


def successor(layout: Layout, node: Node, action: int) -> Node:
    """Where an action (0-3 move, 4 pick up, 5 open) leads; the same node where it does nothing.

    A plain Python statement of the rules, for search and for tests.
    """
    row, column, has_key, is_open = node
    here = np.array([row, column])
    if action < 4:
        target = here + np.array(MOVES[action])
        is_key = not has_key and bool((target == layout.key).all())
        is_door = not is_open and bool((target == layout.door).all())
        is_blocked = bool(layout.wall[target[0], target[1]]) or is_key or is_door
        return node if is_blocked else (int(target[0]), int(target[1]), has_key, is_open)
    if action == 4:
        takes = not has_key and np.abs(here - layout.key).sum() == 1
        return (row, column, True, is_open) if takes else node
    opens = has_key and not is_open and np.abs(here - layout.door).sum() == 1
    return (row, column, has_key, True) if opens else node


def reachable_nodes(layout: Layout) -> list[Node]:
    """Every state that some episode can visit before its goal, in breadth-first order."""
    seen = {(int(row), int(column), False, False) for row, column in np.argwhere(layout.start)}
    queue = collections.deque(sorted(seen))
    while queue:
        node = queue.popleft()
        for action in range(6):
            after = successor(layout, node, action)
            if after not in seen and after[:2] != tuple(layout.goal):
                seen.add(after)
                queue.append(after)
    return sorted(seen)


def _steps_to_goal(layout: Layout) -> dict[Node, int]:
    """Fewest actions to the goal from each state that has a way there."""
    free = [(int(row), int(column)) for row, column in np.argwhere(~layout.wall)]
    flags = [(False, False), (True, False), (True, True)]
    before = collections.defaultdict(list)
    nodes = [(row, column, *flag) for row, column in free for flag in flags]
    for node in nodes:
        for action in range(6):
            before[successor(layout, node, action)].append(node)
    goal = tuple(int(x) for x in layout.goal)
    steps = {node: 0 for node in nodes if node[:2] == goal}
    queue = collections.deque(steps)
    while queue:
        node = queue.popleft()
        for earlier in before[node]:
            if earlier not in steps:
                steps[earlier] = steps[node] + 1
                queue.append(earlier)
    return steps


def _same_side(layout: Layout) -> np.ndarray:
    """Free cells joined to the key by moves alone, [S, S]; the key's own is not one of them."""
    found, queue = np.zeros((SIZE, SIZE), bool), collections.deque([tuple(layout.key)])
    while queue:
        row, column = queue.popleft()
        for down, right in MOVES:
            cell = (row + down, column + right)
            if layout.start[cell] and not found[cell]:
                found[cell] = True
                queue.append(cell)
    return found


def _check_characters(rows: tuple[str, ...]) -> None:
    largest = SIZE - 2
    if not rows or len(rows) > largest or any(len(row) > largest for row in rows):
        raise ValueError(f"A map must have 1 to {largest} rows of at most {largest}, got {rows}.")
    text = "".join(rows)
    if unknown := sorted(set(text) - set("#.GKD")):
        raise ValueError(f"A map may hold '#', '.', 'G', 'K' and 'D', got {unknown[0]!r}.")
    counts = {mark: text.count(mark) for mark in "GKD"}
    if counts["G"] != 1 or counts["K"] != counts["D"] or counts["K"] > 1:
        raise ValueError(f"A map must have one goal, and a key with its door or none: {counts}.")


def _place(cells: np.ndarray, mark: str) -> np.ndarray:
    """Row and column of a mark, [2] int32; NOWHERE if the map has none."""
    found = np.argwhere(cells == mark)
    return (found[0] if len(found) else np.array(NOWHERE)).astype(np.int32)
