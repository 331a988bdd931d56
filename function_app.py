"""The triggers of the app; what each does is in `shared/functions`."""

import azure.functions as func

from shared.entry import check_settings, run_message, run_request, run_timer

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
check_settings()


@app.timer_trigger(arg_name="timer", schedule="%FLOW_SESSIONS_SCHEDULE%")
def poll_flow_sessions(timer: func.TimerRequest) -> None:
    run_timer("poll_flow_sessions")


@app.queue_trigger(arg_name="message", queue_name="additional-context", connection="DataStorage")
def decode_additional_context(message: func.QueueMessage) -> None:
    run_message("decode_additional_context", message.get_body().decode(), message.dequeue_count)


@app.timer_trigger(arg_name="timer", schedule="%AUDIT_CONTENT_SCHEDULE%")
def poll_audit_content(timer: func.TimerRequest) -> None:
    run_timer("poll_audit_content")


@app.timer_trigger(arg_name="timer", schedule="%INVENTORY_SCHEDULE%")
def sync_inventory(timer: func.TimerRequest) -> None:
    run_timer("sync_inventory")


@app.timer_trigger(arg_name="timer", schedule="%PUBLISH_SCHEDULE%")
def publish(timer: func.TimerRequest) -> None:
    run_timer("publish")


@app.queue_trigger(arg_name="message", queue_name="publish-day", connection="DataStorage")
def publish_day(message: func.QueueMessage) -> None:
    run_message("publish_day", message.get_body().decode(), message.dequeue_count)


@app.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%")
def reconcile(timer: func.TimerRequest) -> None:
    run_timer("reconcile")


@app.route(route="health", methods=["GET"], trigger_arg_name="request")
def health(request: func.HttpRequest) -> func.HttpResponse:
    answer = run_request("health")
    return func.HttpResponse(answer.body, status_code=answer.status, headers=dict(answer.headers))


@app.route(route="status", methods=["GET"], trigger_arg_name="request")
def status(request: func.HttpRequest) -> func.HttpResponse:
    answer = run_request("status")
    return func.HttpResponse(answer.body, status_code=answer.status, headers=dict(answer.headers))
