'use strict';
for (const view of document.querySelectorAll('.compare')) {
  const stage = view.querySelector('.stage');
  const slider = view.querySelector('.slider');
  const zoom = view.querySelector('.zoom');
  const marks = view.querySelector('.marks');
  const frame = view.querySelector('.frame');
  const show = () => stage.style.setProperty('--cut', slider.value + '%');
  const enlarge = () => {
    const middle = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
    const before = stage.clientWidth;
    stage.style.width = zoom.value + '%';
    const ratio = stage.clientWidth / before;
    frame.scrollTo(middle[0] * ratio - frame.clientWidth / 2, middle[1] * ratio - frame.clientHeight / 2);
    view.querySelector('.times').textContent = (zoom.value / 100).toFixed(1) + '\u00d7';
  };
  slider.addEventListener('input', show);
  zoom.addEventListener('input', enlarge);
  marks.addEventListener('change', () => stage.classList.toggle('marked', marks.checked));
  let dragged = false;
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    slider.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  stage.addEventListener('pointerdown', (event) => {
    if (event.pointerType === 'mouse') { dragged = true; drag(event); event.preventDefault(); }
  });
  window.addEventListener('pointermove', (event) => { if (dragged) drag(event); });
  window.addEventListener('pointerup', () => { dragged = false; });
  stage.classList.toggle('marked', marks.checked);
  show();
}
