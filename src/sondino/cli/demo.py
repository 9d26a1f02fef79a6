"""The command that shows a model in the browser: demo."""

from pathlib import Path

from sondino.console import print_line
from sondino.hub.catalogue import DEFAULT_MODEL


def demo(bundle: str = DEFAULT_MODEL, *, port: int = 8017, gallery: Path | None = None, open: bool = False) -> int:
    """Show a model in the browser: drop a file or use the microphone. It is computed in the browser; Ctrl-C ends it.

    Example: `sondino demo --open`

    Args:
        bundle: the folder of a bundle or of a run, or a name that `sondino models` lists. Default: the model that comes
            with the package.
        port: on 127.0.0.1; only this machine can reach it.
        gallery: a folder of sounds to compare with. Default: the sample sounds.
        open: in the browser of this machine, at once.
    """
    import tempfile
    import webbrowser

    from sondino.exporters.demo import page_server
    from sondino.exporters.web import export_web
    from sondino.loopback import HOST
    from sondino.pretrained.locate import locate

    source = locate(bundle)
    with tempfile.TemporaryDirectory(prefix="sondino-demo-") as temporary:
        folder = Path(temporary) / "page"
        with page_server(folder, port) as server:  # first: a port that is taken is known at once
            print_line(f"putting {source} and its gallery on a page", flush=True)
            export_web(source, folder, gallery=gallery)
            address = f"http://{HOST}:{server.server_address[1]}/"
            print_line(f"open {address} (Ctrl-C ends it)", flush=True)
            if open:
                webbrowser.open(address)
            try:
                server.serve_forever(poll_interval=0.2)
            except KeyboardInterrupt:
                print_line()
    return 0
