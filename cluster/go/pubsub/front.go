package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/pstest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	pullWait = 10 * time.Second // the real service lets an empty pull hang for longer
	pullTick = 2 * time.Millisecond
	mostBody = 16 << 20 // a request of the real service is at most 10 MB
)

// https://cloud.google.com/apis/design/errors#handling_errors
var httpCodes = map[codes.Code]int{
	codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.Unauthenticated: 401, codes.PermissionDenied: 403,
	codes.NotFound: 404, codes.AlreadyExists: 409, codes.ResourceExhausted: 429, codes.Unimplemented: 501, codes.Unavailable: 503,
}

var names = map[int]string{
	400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ALREADY_EXISTS",
	429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
}

type front struct {
	server *pstest.Server
	script *script
}

func newFront(server *pstest.Server) http.Handler {
	f := &front{server: server, script: newScript()}
	routes := http.NewServeMux()
	routes.HandleFunc("/v1/", f.serve)
	routes.HandleFunc("POST /control/faults", f.addFault)
	routes.HandleFunc("GET /control/state", f.state)
	return routes
}

// serve answers one REST method: `POST /v1/projects/P/subscriptions/S:pull`, `PUT /v1/projects/P/topics/T`.
func (f *front) serve(w http.ResponseWriter, r *http.Request) {
	name, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), ":")
	if verb == "" {
		verb = strings.ToLower(r.Method)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, mostBody))
	if err != nil {
		return
	}
	fault := f.script.next(verb, r.Header.Get("Authorization"))
	time.Sleep(fault.delay())
	if fault.Status != 0 && !fault.Keeps {
		refuse(w, fault.Status, fault.message(verb), fault.RetryAfter)
		return
	}
	if fault.Lost { // answered and not done: acknowledgements may get lost in the real service
		write(w, []byte("{}"))
		return
	}
	answer, err := f.call(r.Context(), name, verb, r.Method, body, fault)
	switch {
	case err != nil:
		code, known := httpCodes[status.Code(err)]
		if !known {
			code = 500
		}
		refuse(w, code, status.Convert(err).Message(), "")
	case fault.Status != 0: // done, and the answer is another
		refuse(w, fault.Status, fault.message(verb), fault.RetryAfter)
	default:
		text, _ := protojson.Marshal(answer)
		write(w, text)
	}
}

func write(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_, _ = w.Write(text)
}

func (f *front) call(ctx context.Context, name, verb, method string, body []byte, fault fault) (proto.Message, error) {
	service := &f.server.GServer
	topic := strings.Contains(name, "/topics/")
	switch {
	case verb == "put" && topic:
		return service.CreateTopic(ctx, &pubsubpb.Topic{Name: name})
	case verb == "put":
		request := &pubsubpb.Subscription{}
		if err := read(body, request); err != nil {
			return nil, err
		}
		request.Name = name
		return service.CreateSubscription(ctx, request)
	case verb == "get" && !topic:
		return service.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: name})
	case method != http.MethodPost:
		return nil, status.Error(codes.Unimplemented, "no such method")
	case verb == "publish" && topic:
		request := &pubsubpb.PublishRequest{}
		if err := read(body, request); err != nil {
			return nil, err
		}
		request.Topic = name
		return service.Publish(ctx, request)
	case verb == "pull" && !topic:
		request := &pubsubpb.PullRequest{}
		if err := read(body, request); err != nil {
			return nil, err
		}
		request.Subscription = name
		if request.MaxMessages < 1 {
			return nil, status.Error(codes.InvalidArgument, "You have passed an invalid argument to the service (argument=max_messages).")
		}
		if fault.Short {
			request.MaxMessages = 1
		}
		return f.pull(ctx, request)
	case verb == "acknowledge" && !topic:
		request := &pubsubpb.AcknowledgeRequest{}
		if err := read(body, request); err != nil {
			return nil, err
		}
		request.Subscription = name
		if err := f.known(request.AckIds); err != nil {
			return nil, err
		}
		return service.Acknowledge(ctx, request)
	case verb == "modifyAckDeadline" && !topic:
		request := &pubsubpb.ModifyAckDeadlineRequest{}
		if err := read(body, request); err != nil {
			return nil, err
		}
		request.Subscription = name
		if request.AckDeadlineSeconds < 0 || request.AckDeadlineSeconds > 600 {
			return nil, status.Error(codes.InvalidArgument, "The value for ack_deadline_seconds must be between 0 and 600.")
		}
		if err := f.known(request.AckIds); err != nil {
			return nil, err
		}
		return service.ModifyAckDeadline(ctx, request)
	}
	return nil, status.Error(codes.Unimplemented, "no such method")
}

// known keeps the emulator alive: it takes the acknowledgement ids of a modifyAckDeadline for granted.
func (f *front) known(ids []string) error {
	if len(ids) == 0 {
		return status.Error(codes.InvalidArgument, "No ack ids specified.")
	}
	for _, id := range ids {
		if f.server.Message(id) == nil {
			return status.Error(codes.InvalidArgument, "You have passed an invalid ack ID to the service.")
		}
	}
	return nil
}

// pull answers as soon as there is a message; the emulator itself looks only twice in half a second.
func (f *front) pull(ctx context.Context, request *pubsubpb.PullRequest) (proto.Message, error) {
	at := proto.Clone(request).(*pubsubpb.PullRequest)
	at.ReturnImmediately = true //nolint:staticcheck // the emulator's own wait is what is avoided
	for deadline := time.Now().Add(pullWait); ; time.Sleep(pullTick) {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		answer, err := f.server.GServer.Pull(ctx, at)
		if err != nil || len(answer.ReceivedMessages) > 0 || request.ReturnImmediately || time.Now().After(deadline) {
			return answer, err
		}
	}
}

func read(body []byte, request proto.Message) error {
	if len(body) == 0 {
		return nil
	}
	if err := protojson.Unmarshal(body, request); err != nil {
		return status.Error(codes.InvalidArgument, "Invalid JSON payload received.")
	}
	return nil
}

func refuse(w http.ResponseWriter, code int, message, retryAfter string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "status": names[code]}})
}
