// The slider by keyboard: Gradio's takes the mouse alone, so keys become drags of its line.
() => {
    const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };

    const place = (line) => {
        const box = line.parentElement.getBoundingClientRect();
        return { box, share: new DOMMatrix(getComputedStyle(line).transform).m41 / box.width };
    };

    const drag = (line, step) => {
        const { box, share } = place(line);
        const send = (target, kind, at) => target.dispatchEvent(new MouseEvent(kind, {
            view: window, bubbles: true, cancelable: true, clientX: box.left + at * box.width, clientY: box.top,
        }));
        const to = Math.min(1, Math.max(0, share + step));
        send(line.querySelector('.inner') ?? line, 'mousedown', share);
        send(window, 'mousemove', to);
        send(window, 'mouseup', to);
    };

    const tell = (line) => line.setAttribute('aria-valuenow', Math.round(100 * place(line).share));

    document.addEventListener('keydown', (event) => {
        const line = document.activeElement;
        if (!line?.matches('#slider [role="slider"]') || !(event.key in steps)) return;
        event.preventDefault();
        drag(line, steps[event.key]);
        requestAnimationFrame(() => tell(line));
    });

    new MutationObserver(() => {
        const line = document.querySelector('#slider [data-testid="slider"]:not([role="slider"])');
        if (!line) return;
        const label = 'Before and after: arrow keys, Page Up and Down, Home, End';
        const told = { role: 'slider', tabindex: 0, 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100 };
        Object.entries(told).forEach(([name, value]) => line.setAttribute(name, value));
        tell(line);
    }).observe(document.body, { childList: true, subtree: true });
}
