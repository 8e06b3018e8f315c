"""Print the HTML template with which `dvc plots show` makes a page that needs no network; `make plots` uses it.

DVC's own template loads Vega from the network. Snakemake brings the same libraries for its report; they are copied into
the page.
"""

from importlib.resources import files

LIBRARIES = ("vega", "vega-lite", "vega-embed")
PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
{refresh_tag}
<title>Attention Atlas: plots</title>
%s
</head>
<body>
{plot_divs}
</body>
</html>
"""


def library(name: str) -> str:
    """The script element of a library; what would end the element early is escaped."""
    text = (files("snakemake.assets") / "data" / name / f"{name}.js").read_text(encoding="utf-8")
    return "<script>" + text.replace("</script", r"<\/script") + "</script>"


if __name__ == "__main__":
    print(PAGE % "\n".join(map(library, LIBRARIES)))
