"""Tables in Markdown."""

from statistics import median

from rounds import ratios


def comparison(loads, figures):
    """One line a load, one column a system: the median, and ours divided by it."""
    names = sorted({name for by_system in figures.values() for name in by_system} - {"ngrnotok"})
    rows = [["", "", "ngrnotok", *names]]
    for key, load in loads.items():
        better = "less" if load.is_time else "more"
        ours = number(median(figures[key]["ngrnotok"]))
        row = [load.name, f"{load.figure}, {better} is better", ours]
        for name in names:
            theirs = figures[key][name]
            if None in theirs:
                row.append("–")
            else:
                ratio = median(ratios(figures[key], name))
                row.append(f"{number(median(theirs))} ({ratio:.2f} ×)")
        rows.append(row)
    return markdown(rows)


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(rows):
    head, *body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join(["", head, "|---" * len(rows[0]) + "|", *body])
