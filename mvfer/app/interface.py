"""The app's page: gradio's components, and which of them asks the [`Desk`] what. In: a desk. Out: a server.

One column on a phone, two on a desktop. What is remembered of a visitor lies in `gr.State`, which gradio keeps apart.
"""

import signal
import sys
import time
from functools import partial

import gradio as gr

from modeling_mvfer.baseline_mvfer import NO_BASELINE
from mvfer.app import page
from mvfer.app.desk import Desk
from mvfer.app.uploads import MAX_BYTES
from processing.sequences_mvfer import DEFAULT_FPS

SWEEP_S, KEEP_S = 20, 280  # gradio's copies of uploads are gone within five minutes
REMEMBER_S = 3600  # what was seen of a scan, while the page stays open
AT_ONCE = 2  # visitors whose scans are read at the same time; the others wait
WAITING = 40  # no more than these
SANS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK JP", "sans-serif"]  # none is fetched
STYLE = (
    page.STYLE
    + """
.gradio-container { max-width: 72rem !important; margin: 0 auto !important; } footer { display: none !important; }
.gradio-container .html-container { padding: 0 !important; }
#examples { display: grid; grid-template-columns: repeat(4, 1fr); gap: 0.5rem; }
.gradio-container .label-wrap { text-align: left; gap: 0.5rem; }
@media (max-width: 699px) { #examples { grid-template-columns: repeat(2, 1fr); } }
"""
)
TO_RESULT = "() => window.innerWidth < 700 && document.querySelector('#result').scrollIntoView({behavior: 'smooth'})"


def build(desk: Desk) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="MVFER", analytics_enabled=False, delete_cache=(SWEEP_S, KEEP_S)) as blocks:
        gr.HTML(page.head(is_bundled=desk.is_bundled))
        seen, baseline = (gr.State(None, time_to_live=REMEMBER_S) for _ in range(2))
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                files = gr.File(label="Mesh, zip, frames or photos", file_count="multiple", height=150, elem_id="files")
                gr.HTML(page.over_examples())
                with gr.Row(elem_id="examples"):
                    buttons = [gr.Button(name, size="sm", min_width=0) for name in desk.examples]
                labels = gr.Textbox(
                    "\n".join(desk.labels),
                    label="Labels, one a line",
                    info="Any words, such as mouth wide open. With descriptions: smirk: left lip corner pulled up; ...",
                    lines=7,
                    max_lines=20,
                    elem_id="labels",
                )
                with gr.Accordion("Scans of the same person", open=False):
                    if desk.takes_baselines:
                        at_rest = gr.Checkbox(True, label="They show the face at rest")
                        own = gr.File(label="To compare with", file_count="multiple", height=120, elem_id="own")
                        forget = gr.Button("Forget them", size="sm")
                    else:
                        gr.HTML(page.remark(f"{NO_BASELINE[0].upper()}{NO_BASELINE[1:]}."))
                    told_own = gr.HTML()
                with gr.Accordion("Sequences", open=False):
                    fps = gr.Textbox(
                        f"{DEFAULT_FPS:g}", label="Frames per second", info="Say it before you drop the frames."
                    )
            with gr.Column(scale=3, min_width=320):
                result = gr.HTML(page.waiting(), elem_id="result")
                ask = gr.Button("Where was it read?", size="sm", visible=False, elem_id="where")
                heat = gr.HTML()
        gr.HTML(page.foot())

        told = [seen, result, ask, heat]
        queue = {"concurrency_id": "reading", "concurrency_limit": AT_ONCE, "api_visibility": "private"}
        read = partial(_read, desk), [files, labels, fps, baseline], [*told, files]
        files.upload(*read, show_progress_on=result, **queue).then(None, js=TO_RESULT)
        for button in buttons:
            read = partial(_read_example, desk, button.value), [labels, baseline], told
            button.click(*read, show_progress_on=result, **queue).then(None, js=TO_RESULT)
        latest = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
        retell, asked = partial(_retell, desk), [seen, labels, baseline]
        labels.change(retell, asked, told[1:], **latest)
        ask.click(desk.where, asked, heat, **queue)
        if desk.takes_baselines:
            own.upload(desk.take_baseline, [own, at_rest], [baseline, told_own], **queue).then(
                lambda: None, None, own, api_visibility="private"
            ).then(retell, asked, told[1:], **latest)
            forget.click(lambda: (None, ""), None, [baseline, told_own], api_visibility="private").then(
                retell, asked, told[1:], **latest
            )

        def forget_visitor(request: gr.Request) -> None:  # gradio alone would remember for an hour
            blocks.app.state_holder.delete_state(request.session_hash)

        blocks.unload(forget_visitor)
    return blocks


def serve(desk: Desk, *, host: str, port: int) -> None:
    """Show the page until it is interrupted; `mvfer app` then deletes what gradio wrote of uploads.

    Raises:
        KeyboardInterrupt: in the end, also when asked to terminate.
        OSError: if the port is taken.
    """
    blocks = build(desk).queue(max_size=WAITING)
    theme = gr.themes.Base(primary_hue="sky", neutral_hue="slate", font=SANS, font_mono=["ui-monospace", "monospace"])
    launched: dict = {
        "share": False,
        "inbrowser": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "ssr_mode": False,
    }
    launched |= {"run_history": False, "footer_links": [], "show_error": False, "quiet": True}
    blocks.launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_BYTES,
        prevent_thread_lock=True,
        theme=theme,
        css=STYLE,
        **launched,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"mvfer: http://{host}:{port} (Ctrl+C ends it)", file=sys.stderr, flush=True)
    try:
        while True:
            time.sleep(1)
    finally:
        blocks.close(verbose=False)


def _read(desk: Desk, files, labels, fps, baseline, progress=gr.Progress()):  # noqa: B008  (how gradio finds it)
    """The file field is emptied: the file is gone."""
    found = desk.read(files, labels, fps, baseline, progress=_Frames(progress))
    return *_shown(*found), None


def _read_example(desk: Desk, name: str, labels, baseline, progress=gr.Progress()):  # noqa: B008
    return _shown(*desk.read_example(name, labels, baseline, progress=_Frames(progress)))


def _retell(desk: Desk, seen, labels, baseline):
    return _shown(seen, desk.retell(seen, labels, baseline))[1:]


def _shown(seen, html: str):
    """What was seen, the result, whether one may ask where it was read, and no old answer to that."""
    return seen, html, gr.update(visible=seen is not None), ""


class _Frames:
    """Tells gradio of frames that were read."""

    def __init__(self, progress: gr.Progress):
        self.progress = progress

    def __call__(self, done: int, of: int) -> None:
        if of > 1:
            self.progress((done, of), unit="frames")
